//! What operators see and do, over all tenants. Every handler takes an [`Operator`](super::operator::Operator).
//!
//! Comes in: requests of operators. Goes out: answers without a whole number, and a record of each act in the ledger. A number is in
//! the body of a request and never in its URL, because proxies log URLs.

pub(super) mod audit;
pub(super) mod blocks;
pub(super) mod carriers;
pub(super) mod config;
pub(super) mod dispatches;
pub(super) mod erase;
pub(super) mod quota;
mod request;
mod search_body;

pub(super) use carriers::ResumeBody;
pub(super) use request::WhyBody;
pub(super) use search_body::SearchBody;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ledger::NewAuditRecord;

/// The result of an act.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangeAnswer {
    /// Whether the act changed anything.
    changed: bool,
}

/// Logs an act, so that it is also found without the ledger.
fn log(audit: &NewAuditRecord) {
    let NewAuditRecord { who, act, subject, reason, .. } = audit;
    tracing::info!(who, act = act.as_str(), subject, reason, "an operator acted");
}
