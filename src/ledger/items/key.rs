//! Keys of the HTTP doors.

use serde::{Deserialize, Serialize};

/// A key of the HTTP doors, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its public part.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it may do, as words separated by spaces.
    pub scopes: String,
    /// SHA-256 of the whole key, hexadecimal.
    pub hash: String,
}
