//! Keys of the HTTP doors.

use jiff::Timestamp;
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
    /// When it was made; the ledger knows.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}
