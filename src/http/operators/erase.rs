//! `POST /v1/erase`: deletes all rows of a number, in bounded steps.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::dispatches::cancel_one;
use super::request::{self, Body};
use super::{log, quota};
use crate::domain::attempt::State;
use crate::domain::dispatch::Dispatch;
use crate::http::authorized::operator_problems;
use crate::http::body::Payload;
use crate::http::openapi::problems;
use crate::http::operator::Operator;
use crate::http::problem::{Problem, ProblemKind};
use crate::ledger::{DispatchSearch, EraseStep, OperatorAct, SearchBy};

/// Maximum number of dispatches that one request deletes.
const DISPATCHES_PER_STEP: usize = 100;
/// Maximum number of dispatches that one request cancels, for each state.
const CANCELLED_PER_STEP: usize = 100;

/// The number to erase.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct EraseBody {
    /// The number in E.164. All spellings of it are erased.
    #[schema(value_type = String, pattern = "^\\+[1-9][0-9]{6,14}$")]
    number: Zeroizing<String>,
    /// Cancel the dispatches that are under way. Without it they are a reason to refuse.
    #[serde(default)]
    force: bool,
    /// Why; for the audit. It must not name the number.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
}

impl Body for EraseBody {
    const FIELDS: &'static str =
        "number (a text), force (true or false, optional), reason (a text, optional)";
}

/// The result of one step.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct EraseAnswer {
    /// Number of dispatches that this step deleted.
    deleted: u64,
    /// Number of dispatches that this step cancelled.
    cancelled: u64,
    /// Number of cancelled or just finished dispatches that a worker may still process. They are deleted within some seconds.
    waiting: u64,
    /// Whether nothing of the number is left. Otherwise the same request continues.
    done: bool,
}

/// Erase a number
///
/// Deletes its dispatches with their attempts, pending events and receipts, and its quotas. A block of the number stays. One request
/// deletes 100 dispatches at most; repeat it until `done`. The record of it does not name the number.
#[utoipa::path(
    post,
    path = "/v1/erase",
    operation_id = "erase_number",
    tag = "operators",
    request_body(content = EraseBody, content_type = "application/json"),
    responses((status = 200, description = "The step was done", body = EraseAnswer), EraseProblems)
)]
pub(in crate::http) async fn erase(
    operator: Operator, Payload(body): Payload,
) -> Result<Json<EraseAnswer>, Problem> {
    let body: EraseBody = request::read(&body)?;
    let number = request::number(&body.number)?;
    let reason = request::maybe_reason(body.reason.as_deref())?;
    let state = &operator.api.state;
    let number_keys = state.rules.current().keys.number_keys(&number);
    let open = under_way(&operator, &number_keys).await?;
    if !open.is_empty() && !body.force {
        return Err(still_under_way());
    }
    let record = |subject: String| operator.record(OperatorAct::Erase, subject, reason);
    let open: Vec<Dispatch> = open.into_iter().filter(|d| d.stop.is_none()).collect();
    if !open.is_empty() {
        let audit = record(format!("{} dispatches under way of one number: cancelled", open.len()));
        state.ledger.record_act(&audit).await?;
        log(&audit);
    }
    let mut cancelled = 0;
    for d in open {
        match cancel_one(&operator, &d.order.tenant, d.order.id).await {
            Ok(_) => cancelled += 1,
            // It has ended meanwhile.
            Err(problem) if problem.status() == StatusCode::CONFLICT => {}
            Err(problem) => return Err(problem),
        }
    }
    let audit = record("dispatches of one number: deleted".to_owned());
    let step = EraseStep { number_keys, limit: DISPATCHES_PER_STEP, audit: audit.clone() };
    let erased = state.ledger.erase(&step).await?;
    if erased.dispatches > 0 {
        log(&audit);
    }
    let done = erased.left.is_empty() && !erased.is_partial;
    let mut keys: BTreeSet<String> = erased.quota_keys;
    if done {
        keys.extend(quota::keys(&quota::quotas_of(&operator, &number, None)?));
        let audit = record("one number: all deleted".to_owned());
        state.ledger.delete_quotas(&Vec::from_iter(keys), &audit).await?;
        operator.api.flood.current().forget_refusals();
        log(&audit);
    } else if !keys.is_empty() {
        // The record exists already.
        state.ledger.delete_quotas(&Vec::from_iter(keys), &audit).await?;
    }
    Ok(Json(EraseAnswer { deleted: erased.dispatches, cancelled, waiting: erased.left.len() as u64, done }))
}

/// The dispatches of a number that are not final. At most [`CANCELLED_PER_STEP`] for each state.
async fn under_way(operator: &Operator, number_keys: &[String]) -> Result<Vec<Dispatch>, Problem> {
    let mut found = vec![];
    for state in State::ALL.iter().filter(|state| !state.is_final()) {
        let search = DispatchSearch {
            by: SearchBy::Number(number_keys.to_vec()),
            from: Timestamp::UNIX_EPOCH,
            to: None,
            before: None,
            state: Some(*state),
            tenant: None,
            limit: CANCELLED_PER_STEP,
        };
        found.extend(operator.api.state.ledger.search(&search).await?.dispatches);
    }
    Ok(found)
}

fn still_under_way() -> Problem {
    let detail = "a dispatch of this number is under way; wait until it has ended, or cancel it first with force (otpost erase --force)";
    Problem::new(StatusCode::CONFLICT, ProblemKind::UnderWay, detail)
}

problems! {
    EraseProblems = operator_problems().into_iter().chain(request::problems::<EraseBody>())
        .chain([still_under_way()]);
}
