//! A quota that is checked.

use crate::domain::quota::Rule;

/// A quota that a job is counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Keyed hash of the counted value.
    pub key: String,
    /// The rules of the quota. All of them must have room.
    pub rules: Vec<Rule>,
}
