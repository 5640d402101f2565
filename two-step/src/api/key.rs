//! API keys of back ends. Each belongs to one product.

use axum::http::HeaderMap;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::Api;
use super::problem::Problem;
use crate::flow::FlowError;
use crate::seal::{Hashed, Keys, is_token, random_bytes, random_token, same};
use crate::store::{ApiKey, StoreError};

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

impl Scope {
    /// The problems of any request with this scope.
    pub(super) fn problems(self) -> Vec<Problem> {
        vec![Problem::unauthorized(), Problem::forbidden(self.into()), Problem::unavailable()]
    }
}

impl Api {
    /// Returns the product of a request's key, if the key has the scope.
    pub(super) async fn product(&self, headers: &HeaderMap, scope: Scope) -> Result<String, Problem> {
        let row = self.key(headers).await?;
        let word: &'static str = scope.into();
        if !row.scopes.split(' ').any(|s| s == word) {
            return Err(Problem::forbidden(word));
        }
        Ok(row.product)
    }

    /// Returns a request's key.
    pub(super) async fn key(&self, headers: &HeaderMap) -> Result<ApiKey, Problem> {
        let text = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let text =
            text.get(..7).filter(|p| p.eq_ignore_ascii_case("bearer ")).map_or("", |_| text[7..].trim());
        let (id, secret) =
            text.strip_prefix("ts_").and_then(|t| t.split_once('_')).ok_or_else(Problem::unauthorized)?;
        if id.len() != 12 || !is_token(secret) {
            return Err(Problem::unauthorized());
        }
        let of = |e: StoreError| Problem::from(FlowError::from(e));
        let mut tx = self.core.store.begin().await.map_err(of)?;
        let row = tx.get::<ApiKey>(id.to_owned()).await.map_err(of)?.ok_or_else(Problem::unauthorized)?;
        tx.commit().await.map_err(of)?;
        if !same(&row.hash, &self.core.keys.hash_text(Hashed::ApiKey, text)) {
            return Err(Problem::unauthorized());
        }
        Ok(row)
    }
}
