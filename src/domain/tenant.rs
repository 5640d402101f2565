//! The names of tenants.

/// The tenant of an operator's API key, which belongs to no tenant. No configured tenant may have this name.
pub const ALL_TENANTS: &str = "*";
