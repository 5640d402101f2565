//! API keys: `otp_<id>_<secret>`, with a secret of 256 random bits. A key is shown once and stored as a hash.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::words::words;
use crate::ledger::KeyRow;

words! {
    /// A permission of an API key.
    Scope {
        /// Create dispatches.
        Dispatch = "dispatch",
        /// Read timelines and events.
        Read = "read",
        /// Cancel, request the next step, give feedback.
        Act = "act",
        /// Manage the tenant's webhook. With a key for all tenants: everything that an operator does.
        Admin = "admin",
    }
}

/// A new API key: the text that is shown once, and the row that is stored.
pub struct NewKey {
    /// The whole key: `otp_<id>_<secret>`.
    pub text: String,
    /// The row with the hash of the key.
    pub row: KeyRow,
}

impl NewKey {
    /// Creates a random key for a tenant.
    pub fn make(tenant: &str, scopes: &[Scope]) -> Self {
        let id = hex::encode(crate::seal::random::<6>());
        let text = format!("otp_{id}_{}", BASE64.encode(crate::seal::random::<32>()));
        Self::with(id, text, tenant, scopes)
    }

    /// Rebuilds a key from its text. `None` when the text does not have the form of a key.
    pub fn of(text: &str, tenant: &str, scopes: &[Scope]) -> Option<Self> {
        let (id, _) = text.strip_prefix("otp_")?.split_once('_')?;
        Some(Self::with(id.to_owned(), text.to_owned(), tenant, scopes))
    }

    fn with(id: String, text: String, tenant: &str, scopes: &[Scope]) -> Self {
        let scopes = scopes.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(" ");
        let row = KeyRow {
            id,
            tenant: tenant.to_owned(),
            scopes,
            hash: hash(&text),
            created_at: None,
            revoked_at: None,
        };
        Self { text, row }
    }
}

/// The bearer key of a request, not verified yet.
#[derive(Clone, Copy)]
pub struct Bearer<'a>(&'a str);

impl<'a> Bearer<'a> {
    /// Reads the header `authorization`. `None` without a bearer key.
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        crate::ops::bearer(headers).map(Self)
    }

    /// The id part of the key. `None` when the text does not have the form of a key.
    pub fn id(self) -> Option<&'a str> {
        self.0.strip_prefix("otp_")?.split('_').next()
    }

    /// Compares the hash of the key with the row, in constant time.
    pub fn opens(self, row: &KeyRow) -> bool {
        row.hash.as_bytes().ct_eq(hash(self.0).as_bytes()).into()
    }
}

fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}
