//! Authorisation. A handler reaches the flows only through its argument [`Authorized`], which verifies the API key and its scope.
//! A handler that reads or changes anything does not compile without it.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::problem::Problem;
use super::{Api, scope};
use crate::flow::FlowError;
use crate::seal::{Hashed, is_token, same};
use crate::store::{ApiKey, StoreError};

/// The API, protected: handlers reach it through [`Authorized`] only.
#[derive(Clone)]
pub(super) struct Protected(Arc<Api>);

impl Protected {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self(api)
    }
}

/// A request whose API key is valid and has the scope `S`.
pub(super) struct Authorized<S> {
    /// The API.
    pub(super) api: Arc<Api>,
    /// The product that the key belongs to.
    pub(super) product: String,
    scope: PhantomData<S>,
}

impl<S: scope::Required> FromRequestParts<Protected> for Authorized<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, Protected(api): &Protected) -> Result<Self, Problem> {
        let row = api.key(&parts.headers).await?;
        let word: &'static str = S::SCOPE.into();
        if !row.scopes.split(' ').any(|s| s == word) {
            return Err(Problem::forbidden(word));
        }
        Ok(Self { api: Arc::clone(api), product: row.product, scope: PhantomData })
    }
}

/// The problems that every authorised request may be answered with.
pub(super) fn problems<S: scope::Required>() -> Vec<Problem> {
    vec![Problem::unauthorized(), Problem::forbidden(S::SCOPE.into()), Problem::unavailable()]
}

impl Api {
    /// Verifies a request's key and returns its row.
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
