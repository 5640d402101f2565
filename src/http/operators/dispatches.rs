//! Dispatches of all tenants: `POST /v1/operator/dispatches/search`, `GET /v1/operator/dispatches/{uid}`, and `/cancel` and `/retry`
//! below it. A sender's id is unique only for its tenant, so otpost's own id names a dispatch here.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::log;
use super::request::{self, WhyBody, bad};
use super::search_body::SearchBody;
use crate::delivery::act::{ActRefusal, ActResult, perform};
use crate::domain::attempt::{Reason, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Dispatch, Stop};
use crate::http::acts::conflict;
use crate::http::authorized::operator_problems;
use crate::http::body::Payload;
use crate::http::openapi::problems;
use crate::http::operator::Operator;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timeline::Timeline;
use crate::intake::{Act, ActKind};
use crate::ledger::decide;
use crate::ledger::{DispatchSearch, OperatorAct, RetryResult, SearchBy};

/// Number of dispatches in an answer, unless the request names one.
const DEFAULT_DISPATCHES: usize = 50;
/// Maximum number of dispatches in an answer.
const MAX_DISPATCHES: usize = 200;
/// The period of a search by neither number nor id, unless the request names its beginning.
const DEFAULT_PERIOD: Duration = Duration::from_secs(3600);

/// Found dispatches.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DispatchList {
    /// The dispatches, newest first.
    dispatches: Vec<DispatchRow>,
    /// The cursor of the next page; absent at the end. A page looks at 10,000 rows at most, so it may be empty and have a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<Uuid>,
}

/// A dispatch in a list.
#[derive(Debug, Serialize, ToSchema)]
struct DispatchRow {
    /// otpost's id.
    uid: Uuid,
    /// The sender's id.
    id: Uuid,
    /// The tenant.
    tenant: String,
    /// The masked number.
    to: String,
    /// The country of the number, ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    country: Option<String>,
    /// The plan: the channels in order.
    channels: Vec<Channel>,
    /// The current state.
    state: State,
    /// The reason of the state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<Reason>,
    /// Why the dispatch was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stop: Option<Stop>,
    /// Number of attempts.
    attempts: usize,
    /// The carrier of the newest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    carrier: Option<String>,
    /// When it was admitted.
    admitted_at: Timestamp,
    /// When the code expires.
    expires_at: Timestamp,
    /// When a worker looks at it next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wake_at: Option<Timestamp>,
}

impl From<Dispatch> for DispatchRow {
    fn from(d: Dispatch) -> Self {
        let order = Arc::unwrap_or_clone(d.order);
        Self {
            uid: order.uid,
            id: order.id,
            to: order.mask,
            country: order.country,
            channels: order.plan.channels().to_vec(),
            tenant: order.tenant,
            state: d.state,
            reason: d.reason,
            stop: d.stop,
            attempts: d.attempts.len(),
            carrier: d.attempts.into_iter().next_back().map(|attempt| attempt.carrier),
            admitted_at: d.admitted_at,
            expires_at: order.expires_at,
            wake_at: d.wake_at,
        }
    }
}

/// The state of a dispatch after an act.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct StateAnswer {
    /// otpost's id of the dispatch.
    uid: Uuid,
    /// The current state. The act may change it later.
    state: State,
}

type Uid = Result<Path<Uuid>, PathRejection>;

/// Search dispatches of all tenants
///
/// By number, by id, or by the time of admission. The answer is bounded: a search that looks through a long period returns a cursor.
#[utoipa::path(
    post,
    path = "/v1/operator/dispatches/search",
    operation_id = "search_dispatches",
    tag = "operators",
    request_body(content = ref("#/components/schemas/SearchBody"), content_type = "application/json"),
    responses((status = 200, description = "The dispatches", body = DispatchList), SearchProblems)
)]
pub(in crate::http) async fn search(
    operator: Operator, Payload(body): Payload,
) -> Result<Json<DispatchList>, Problem> {
    let body: SearchBody = request::read(&body)?;
    let limit = body.limit.unwrap_or(DEFAULT_DISPATCHES);
    if !(1..=MAX_DISPATCHES).contains(&limit) {
        return Err(bad("limit", "must be 1 to 200"));
    }
    let state = &operator.api.state;
    let rules = state.rules.current();
    let by = match (&body.number, body.id) {
        (Some(_), Some(_)) => return Err(two_keys()),
        (Some(number), None) => SearchBy::Number(rules.keys.number_keys(&request::number(number)?)),
        (None, Some(id)) => {
            let tenants = body.tenant.clone().map_or_else(|| rules.admitter.tenants(), |tenant| vec![tenant]);
            SearchBy::Id { id, tenants }
        }
        (None, None) => SearchBy::Period,
    };
    let from = body.from.unwrap_or_else(|| match by {
        SearchBy::Period => {
            let end = body.to.unwrap_or_else(|| state.ledger.now());
            end.checked_sub(DEFAULT_PERIOD).unwrap_or(Timestamp::UNIX_EPOCH)
        }
        _ => Timestamp::UNIX_EPOCH,
    });
    let (before, to, tenant) = (body.cursor, body.to, body.tenant);
    let search = DispatchSearch { by, from, to, before, state: body.state, tenant, limit };
    let page = state.ledger.search(&search).await?;
    let dispatches = page.dispatches.into_iter().map(DispatchRow::from).collect();
    Ok(Json(DispatchList { dispatches, next: page.next }))
}

/// Read the timeline of a dispatch of any tenant
#[utoipa::path(
    get,
    path = "/v1/operator/dispatches/{uid}",
    operation_id = "show_dispatch",
    tag = "operators",
    params(("uid" = Uuid, Path, description = "otpost's id of the dispatch")),
    responses((status = 200, description = "The timeline", body = Timeline), ShowProblems)
)]
pub(in crate::http) async fn show(operator: Operator, uid: Uid) -> Result<Json<Timeline>, Problem> {
    let d = find(&operator, uid).await?;
    let language = operator.api.state.rules.current().admitter.language(&d);
    Ok(Json(Timeline { language, ..Timeline::from(&d) }))
}

/// Cancel a dispatch of any tenant
///
/// No further attempt begins. An attempt that a carrier has accepted still gets its delivery receipt.
#[utoipa::path(
    post,
    path = "/v1/operator/dispatches/{uid}/cancel",
    operation_id = "cancel_dispatch",
    tag = "operators",
    params(("uid" = Uuid, Path, description = "otpost's id of the dispatch")),
    request_body(content = ref("#/components/schemas/WhyBody"), content_type = "application/json"),
    responses(
        (status = 200, description = "No further attempt begins", body = StateAnswer),
        CancelProblems
    )
)]
pub(in crate::http) async fn cancel(
    operator: Operator, uid: Uid, Payload(body): Payload,
) -> Result<Json<StateAnswer>, Problem> {
    let body: WhyBody = request::read(&body)?;
    let reason = body.reason()?;
    let d = find(&operator, uid).await?;
    if d.state.is_final() && d.state != State::Cancelled {
        return Err(conflict(ActRefusal::Final(d.state)));
    }
    if d.state == State::Cancelled || d.stop.is_some() {
        return Ok(Json(StateAnswer { uid: d.order.uid, state: d.state }));
    }
    let uid = d.order.uid;
    let audit = operator.record(OperatorAct::DispatchCancel, format!("dispatch {uid}"), reason);
    operator.api.state.ledger.record_act(&audit).await?;
    log(&audit);
    let state = cancel_one(&operator, &d.order.tenant, d.order.id).await?;
    Ok(Json(StateAnswer { uid, state }))
}

/// Cancels a dispatch as its sender would.
pub(super) async fn cancel_one(operator: &Operator, tenant: &str, id: Uuid) -> Result<State, Problem> {
    let state = &operator.api.state;
    let act = Act { tenant: tenant.to_owned(), id, kind: ActKind::Cancel };
    match perform(&state.ledger, &state.waker, &state.metrics, &act).await? {
        ActResult::Done { state, .. } | ActResult::Nothing { state } => Ok(state),
        ActResult::Refused(refusal) => Err(conflict(refusal)),
        ActResult::Unknown => Err(Problem::no_dispatch()),
    }
}

/// Make a waiting dispatch due now
///
/// For a dispatch that waits because no carrier had room: each was at its rate limit, busy, paused, or had an open circuit breaker. A
/// worker takes it at once. A pause between repeated requests stays: at most 15 s, or as long as the carrier has asked for.
#[utoipa::path(
    post,
    path = "/v1/operator/dispatches/{uid}/retry",
    operation_id = "retry_dispatch",
    tag = "operators",
    params(("uid" = Uuid, Path, description = "otpost's id of the dispatch")),
    request_body(content = ref("#/components/schemas/WhyBody"), content_type = "application/json"),
    responses((status = 200, description = "The dispatch is due", body = StateAnswer), RetryProblems)
)]
pub(in crate::http) async fn retry(
    operator: Operator, uid: Uid, Payload(body): Payload,
) -> Result<Json<StateAnswer>, Problem> {
    let body: WhyBody = request::read(&body)?;
    let reason = body.reason()?;
    let d = find(&operator, uid).await?;
    let (uid, now) = (d.order.uid, d.now);
    // Decided on a copy first, so that an act that is not possible is not recorded.
    due(decide::retry(Some(&mut d.clone()), now))?;
    let ledger = &operator.api.state.ledger;
    let audit = operator.record(OperatorAct::DispatchRetry, format!("dispatch {uid}"), reason);
    ledger.record_act(&audit).await?;
    let state = due(ledger.retry_dispatch(uid).await?)?;
    log(&audit);
    operator.api.state.waker.wake(uid);
    Ok(Json(StateAnswer { uid, state }))
}

/// The state of a dispatch that is due now, or why it is not.
fn due(result: RetryResult) -> Result<State, Problem> {
    match result {
        RetryResult::Due { state } => Ok(state),
        RetryResult::UnderWay { state } => Err(under_way(state)),
        RetryResult::Stopped { stop } => Err(conflict(ActRefusal::Stopped(stop))),
        RetryResult::Final { state } => Err(ended(state)),
        RetryResult::Unknown => Err(Problem::no_dispatch()),
    }
}

async fn find(operator: &Operator, uid: Uid) -> Result<Dispatch, Problem> {
    let Path(uid) = uid.map_err(|_| Problem::no_dispatch())?;
    operator.api.state.ledger.read(uid).await?.ok_or_else(Problem::no_dispatch)
}

fn two_keys() -> Problem {
    let detail = "give a number or an id, not both";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ProblemKind::Invalid, detail)
}

fn ended(state: State) -> Problem {
    let detail = "the dispatch has ended and its code is deleted, so nothing can be sent; its sender dispatches a new code";
    Problem::new(StatusCode::CONFLICT, ProblemKind::Final, detail).state(state)
}

fn under_way(state: State) -> Problem {
    let detail = "a request is open, or a carrier has the message; its receipt is awaited, and nothing waits for a retry";
    Problem::new(StatusCode::CONFLICT, ProblemKind::UnderWay, detail).state(state)
}

problems! {
    SearchProblems = operator_problems().into_iter().chain(request::problems::<SearchBody>()).chain([two_keys()]);
    ShowProblems = operator_problems().into_iter().chain([Problem::no_dispatch()]);
    CancelProblems = operator_problems().into_iter().chain(request::problems::<WhyBody>())
        .chain([Problem::no_dispatch(), conflict(ActRefusal::Final(State::Delivered))]);
    RetryProblems = operator_problems().into_iter().chain(request::problems::<WhyBody>()).chain([
        Problem::no_dispatch(),
        ended(State::Delivered),
        under_way(State::Sent),
        conflict(ActRefusal::Stopped(Stop::Cancel)),
    ]);
}
