//! A quota that is checked.

use serde::Serialize;

use crate::domain::quota::Rule;

/// A quota that a job is counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Keyed hash of the counted value.
    pub key: String,
    /// The rules of the quota. All of them must have room.
    pub rules: Vec<Rule>,
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = s.serialize_struct("Limit", 2)?;
        out.serialize_field("key", &self.key)?;
        let rules: Vec<(u32, u64)> = self.rules.iter().map(|r| (r.count, r.window.as_secs())).collect();
        out.serialize_field("rules", &rules)?;
        out.end()
    }
}
