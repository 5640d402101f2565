//! API keys of back ends. Each belongs to one product.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::seal::{Hashed, Keys, random_bytes, random_token};
use crate::store::ApiKey;

/// The permission of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Create, verify and redeem challenges.
    Challenge,
    /// Open sessions and change users.
    Manage,
    /// Read users and events.
    Read,
    /// Open support cases.
    Support,
    /// Approve support cases.
    SupportApprove,
}

/// A new API key. Its text is shown once, and the row is stored.
#[derive(Debug)]
pub struct NewKey {
    /// `ts_<id>_<secret>`
    pub text: String,
    /// The row to insert.
    pub row: ApiKey,
}

impl NewKey {
    /// Creates a key.
    pub fn make(keys: &Keys, product: &str, scopes: &[Scope]) -> Self {
        let id = hex::encode(random_bytes::<6>());
        let text = format!("ts_{id}_{}", random_token());
        let scopes = scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let row = ApiKey {
            id,
            hash: keys.hash_text(Hashed::ApiKey, &text),
            product: product.to_owned(),
            scopes,
            created_at: crate::clock::machine_now(),
        };
        Self { text, row }
    }
}
