//! Authorisation of operators. Their requests concern all tenants, so a tenant's key is refused, whatever its scopes.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Api;
use super::authorized::Protected;
use super::problem::Problem;
use crate::ledger::{KeyRow, NewAuditRecord, OperatorAct};

/// A request with an operator's key: it has the scope `admin`, and belongs to no tenant.
pub(super) struct Operator {
    /// The API.
    pub(super) api: Arc<Api>,
    /// The key's row. Its id says who acts.
    pub(super) key: KeyRow,
}

impl Operator {
    /// A record of an act, to be written with it.
    pub(super) fn record(
        &self, act: OperatorAct, subject: impl Into<String>, reason: Option<&str>,
    ) -> NewAuditRecord {
        self.api.state.ledger.new_record(&self.key.id, act, subject, reason)
    }
}

impl FromRequestParts<Protected> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, protected: &Protected) -> Result<Self, Problem> {
        let (api, key) = protected.operator(&parts.headers).await?;
        Ok(Self { api, key })
    }
}
