//! `GET /v1/audit`: what operators did.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::request::bad;
use crate::http::authorized::operator_problems;
use crate::http::openapi::problems;
use crate::http::operator::Operator;
use crate::http::problem::Problem;
use crate::ledger::AuditRecord;

/// Number of records in an answer, unless the request names one.
const DEFAULT_RECORDS: usize = 100;
/// Maximum number of records in an answer.
const MAX_RECORDS: usize = 1000;

/// Which records to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AuditQuery {
    /// Only acts since this time (RFC 3339).
    since: Option<Timestamp>,
    /// Maximum number of records; default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// The `next` of the page before.
    cursor: Option<Uuid>,
}

/// What operators did.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct AuditList {
    /// The records, newest first.
    records: Vec<AuditAnswer>,
    /// The cursor of the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<Uuid>,
}

/// An act of an operator.
#[derive(Debug, Serialize, ToSchema)]
struct AuditAnswer {
    /// The id of the record.
    id: Uuid,
    /// When it was done.
    at: Timestamp,
    /// The id of the operator's API key.
    who: String,
    /// The act, such as `carrier_pause`.
    act: String,
    /// To what. Numbers are masked.
    subject: String,
    /// Why, if the operator said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

impl From<AuditRecord> for AuditAnswer {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { id, at, who, act, subject, reason } = record;
        Self { id, at, who, act, subject, reason }
    }
}

/// List what operators did
///
/// Each act that changed something, newest first. Searches and views are not recorded.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "list_audit",
    tag = "operators",
    params(AuditQuery),
    responses((status = 200, description = "The records", body = AuditList), ListProblems)
)]
pub(in crate::http) async fn list(
    operator: Operator, query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditList>, Problem> {
    let Query(query) = query.map_err(|_| bad_query())?;
    let limit = query.limit.unwrap_or(DEFAULT_RECORDS);
    if !(1..=MAX_RECORDS).contains(&limit) {
        return Err(bad_query());
    }
    let since = query.since.unwrap_or(Timestamp::UNIX_EPOCH);
    let records = operator.api.state.ledger.audit(since, query.cursor, limit).await?;
    let next = records.last().filter(|_| records.len() == limit).map(|record| record.id);
    Ok(Json(AuditList { records: records.into_iter().map(AuditAnswer::from).collect(), next }))
}

fn bad_query() -> Problem {
    bad("query", "takes since (a time in RFC 3339), limit (1 to 1000) and cursor (the `next` of a page)")
}

problems! {
    ListProblems = operator_problems().into_iter().chain([bad_query()]);
}
