//! API keys.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An API key, as the ledger stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The public part of the key.
    pub id: String,
    /// The tenant that the key belongs to.
    pub tenant: String,
    /// The scopes of the key, separated by spaces.
    pub scopes: String,
    /// SHA-256 of the whole key, hexadecimal.
    pub hash: String,
    /// When the key was created, by the ledger's clock. `None` for a key that is not stored yet.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// When the key was revoked. `None` for a valid key.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}
