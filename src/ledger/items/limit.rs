//! A quota that is checked.

use crate::domain::quota::Rule;

/// Whose quota refused a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaOwner {
    /// The tenant's quota of the number.
    Number,
    /// The operator's quota of the number, over all tenants.
    Operator,
    /// The tenant's quota of the number on one channel.
    Channel,
}

impl QuotaOwner {
    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Operator => "operator",
            Self::Channel => "channel",
        }
    }
}

/// A rule of a quota that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullQuota {
    /// Whose quota it is.
    pub owner: QuotaOwner,
    /// The rule. If several are full, the one that has room last.
    pub rule: Rule,
}

/// A quota that a job is counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Keyed hash of the counted value.
    pub key: String,
    /// The rules of the quota. All of them must have room.
    pub rules: Vec<Rule>,
}
