//! `POST /v1/dispatches` and `GET /v1/dispatches/{id}`.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized, Protected};
use super::flood::Flood;
use super::openapi::problems;
use super::problem::{Problem, ProblemKind};
use super::{Api, body, scope};
use crate::broker::topology::header::TRACEPARENT;
use crate::domain::attempt::{Reason, State as DispatchState};
use crate::domain::dispatch::NumberProblem;
use crate::http::timeline::Timeline;
use crate::intake::admission::Ingress;
use crate::intake::{BadMessage, JobShape};
use crate::ledger::{Admission, AdmissionResult, KeyRow, LedgerError};
use crate::ops::crash::{self, Point};

/// A dispatch that is stored in the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DispatchAnswer {
    /// The sender's id of the dispatch.
    id: Uuid,
    /// otpost's id of the dispatch.
    uid: Uuid,
    /// The current state.
    state: DispatchState,
}

/// The sender's id of a dispatch, from the path. An id that is no UUID is answered like an unknown one.
pub(super) struct DispatchId(pub(super) Uuid);

impl<S: Send + Sync> FromRequestParts<S> for DispatchId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = Path::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|_| Problem::no_dispatch())
    }
}

type Answer = Result<(StatusCode, Json<DispatchAnswer>), Problem>;

/// Send a code or a notice
///
/// `id` is the idempotency key. A repeated request with the same id and content sends nothing and is answered 200 with the
/// state. A refused job creates no dispatch, so its id can be used again.
#[utoipa::path(
    post,
    path = "/v1/dispatches",
    tag = "dispatches",
    params(("traceparent" = Option<String>, Header, description = "W3C trace context; ignored if it is not valid")),
    request_body(
        content = ref("#/components/schemas/Job"),
        content_type = "application/json",
        description = "At most 64 KiB",
        examples(
            ("plain" = (summary = "Number and code in plain text", value = json!(JobShape::plain()))),
            ("notice" = (summary = "A notice: its template uses no code", value = json!(JobShape::notice()))),
            ("sealed" = (summary = "Number and code sealed under the tenant's key", value = json!(JobShape::sealed())))
        )
    ),
    responses(
        (status = 202, description = "The dispatch was admitted", body = DispatchAnswer),
        (status = 200, description = "The dispatch exists with the same content; nothing is sent again", body = DispatchAnswer),
        CreateProblems
    )
)]
pub(super) async fn create(
    State(protected): State<Protected>, caller: Result<Authorized<scope::Dispatch>, Problem>,
    headers: HeaderMap, body: Body,
) -> Answer {
    let outcome = match caller {
        Ok(caller) => admit(&caller, &headers, body).await,
        Err(problem) => Err(problem),
    };
    let result = match &outcome {
        Ok((StatusCode::OK, _)) => "known",
        Ok(_) => "queued",
        Err(p) if p.status() == StatusCode::CONFLICT => "conflict",
        Err(p) if p.status() == StatusCode::TOO_MANY_REQUESTS => "limited",
        Err(p) if p.status() == StatusCode::SERVICE_UNAVAILABLE => "away",
        Err(p) if matches!(p.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "denied",
        Err(_) => "refused",
    };
    protected.metrics().intake.count_admission("http", result);
    outcome
}

async fn admit(caller: &Authorized<scope::Dispatch>, headers: &HeaderMap, body: Body) -> Answer {
    let (api, key) = (&caller.api, &caller.key);
    let (rules, flood) = (api.state.rules.current(), api.flood.current());
    flood.count_client(&key.id).map_err(|wait| {
        count_refusal(api, "client_flood");
        client_flooded(wait)
    })?;
    // After a start during an outage: nobody knows yet what operators have blocked.
    if !rules.restrictions.current().is_read() {
        return Err(Problem::ledger_away());
    }
    let body = body::read(body).await?;
    let now = api.state.ledger.now();
    // The later of both clocks limits how far ahead `expires_at` may be, because one clock may be wrong.
    let latest = now.max(crate::domain::clock::now());
    // A panic in a parser of untrusted text fails this request only.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        crash::on(&body);
        let job = rules.admitter.decode(&body, Some(&key.tenant), latest)?;
        let traceparent = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok());
        let admission = rules.admitter.admission(&job, Ingress::Http, traceparent, now);
        Ok::<_, crate::intake::BadMessage>((admission, job.metadata.problem(rules.admitter.number_check())))
    }));
    let (admission, number_problem) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(bad)) => {
            count_refusal(api, "invalid");
            return Err(Problem::invalid(INVALID, bad));
        }
        Err(_) => {
            count_refusal(api, "invalid");
            return Err(unreadable());
        }
    };
    answer(api, &flood, key, admission, number_problem).await
}

async fn answer(
    api: &Api, flood: &Flood, key: &KeyRow, admission: Admission, number_problem: Option<NumberProblem>,
) -> Answer {
    let (order, number) = (admission.order.clone(), admission.limits[0].key.clone());
    let flooded = flood.count_number(&number).err();
    let refused_for = flood.refused(&number);
    if flooded.or(refused_for).is_some() {
        // A known id is looked up and answered even when a limit is reached.
        if api.state.ledger.find(&key.tenant, order.id).await?.is_none() {
            return Err(if let Some(wait) = refused_for {
                count_refusal(api, Reason::Quota.as_str());
                quota_full(wait)
            } else {
                count_refusal(api, "number_flood");
                number_flooded(flooded.unwrap_or(1))
            });
        }
    }
    match api.state.ledger.admit(admission).await? {
        AdmissionResult::Inserted { state, superseded, .. } => {
            crash::at(Point::HttpAdmitted);
            api.state.waker.wake(order.uid);
            for uid in superseded {
                api.state.waker.wake(uid);
            }
            Ok((StatusCode::ACCEPTED, Json(DispatchAnswer { id: order.id, uid: order.uid, state })))
        }
        AdmissionResult::Known { uid, state, has_our_claim, .. } => {
            if has_our_claim || uid == order.uid {
                api.state.waker.wake(uid);
            }
            let state = state.ok_or(LedgerError::UnknownForm)?;
            Ok((StatusCode::OK, Json(DispatchAnswer { id: order.id, uid, state })))
        }
        AdmissionResult::Conflict => Err(conflict()),
        AdmissionResult::Refused { state, reason, retry_after_s, full } => {
            count_refusal(api, reason.as_str());
            if let Some(full) = full {
                let intake = &api.state.metrics.intake;
                intake.count_quota_refusal(full.owner.as_str(), &full.rule.to_string());
            }
            if state == DispatchState::Limited {
                flood.remember(&number, retry_after_s.unwrap_or(1));
            }
            Err(match reason {
                Reason::NumberNotPossible => number_not_possible(number_problem),
                _ => refused(state, reason, retry_after_s),
            })
        }
    }
}

const INVALID: ProblemKind = ProblemKind::InvalidJob;

fn count_refusal(api: &Api, reason: &'static str) {
    api.state.metrics.intake.count_refusal("http", reason);
}

fn unreadable() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, INVALID, "the job cannot be read")
}

fn conflict() -> Problem {
    let detail = "this id was used with other content; use a new id for a new code";
    Problem::new(StatusCode::CONFLICT, ProblemKind::Conflict, detail)
}

fn number_not_possible(problem: Option<NumberProblem>) -> Problem {
    let mut detail = "to: the numbering plan has no such number".to_owned();
    if let Some(problem) = problem {
        detail.push_str("; ");
        detail.push_str(&problem.to_string());
    }
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ProblemKind::Refused, detail);
    problem.reason(Reason::NumberNotPossible).field("to")
}

fn refused(state: DispatchState, reason: Reason, retry_after_s: Option<u64>) -> Problem {
    match state {
        DispatchState::Limited => {
            let detail = "the number's quota is full";
            too_many(detail, retry_after_s.unwrap_or(1)).reason(reason)
        }
        DispatchState::Superseded => {
            let detail = "a newer dispatch of the same sign-in exists";
            Problem::new(StatusCode::CONFLICT, ProblemKind::Superseded, detail).reason(reason)
        }
        _ => {
            let detail = match reason {
                Reason::Life => "expires_at: must be at least 10 s ahead",
                Reason::Country => "to: this country is not served",
                Reason::NumberKind => {
                    "to: numbers of this kind get no message on these channels (numbers.refused_kinds)"
                }
                Reason::OperatorBlock => "to: an operator blocks this number",
                _ => "the job is refused",
            };
            let field = if reason == Reason::Life { "expires_at" } else { "to" };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ProblemKind::Refused, detail)
                .reason(reason)
                .field(field)
        }
    }
}

fn quota_full(retry_after_s: u64) -> Problem {
    refused(DispatchState::Limited, Reason::Quota, Some(retry_after_s))
}

fn client_flooded(retry_after_s: u64) -> Problem {
    too_many("too many requests with this API key", retry_after_s)
}

fn number_flooded(retry_after_s: u64) -> Problem {
    too_many("too many requests for this number", retry_after_s)
}

fn too_many(detail: &str, retry_after_s: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, ProblemKind::TooMany, detail).retry_after(retry_after_s)
}

/// Read the timeline of a dispatch
///
/// Its state, its attempts and their delivery receipts. The code is never included, and the number is masked. An id of another
/// tenant is answered 404.
#[utoipa::path(
    get,
    path = "/v1/dispatches/{id}",
    tag = "dispatches",
    params(("id" = Uuid, Path, description = "The sender's id of the dispatch")),
    responses((status = 200, description = "The timeline", body = Timeline), ShowProblems)
)]
pub(super) async fn show(
    caller: Authorized<scope::Read>, DispatchId(id): DispatchId,
) -> Result<Json<Timeline>, Problem> {
    let d = caller.api.state.ledger.find(&caller.key.tenant, id).await?.ok_or_else(Problem::no_dispatch)?;
    let language = caller.api.state.rules.current().admitter.language(&d);
    Ok(Json(Timeline { language, ..Timeline::from(&d) }))
}

problems! {
    CreateProblems = authorized::problems::<scope::Dispatch>().into_iter().chain(body::problems()).chain([
        Problem::invalid(INVALID, BadMessage::new("body", "is not JSON (line 1, column 1)")),
        Problem::invalid(INVALID, BadMessage::new("to", "must be E.164: + and 7 to 15 digits, the country code first, such as +447700900123")),
        refused(DispatchState::Expired, Reason::Life, None),
        number_not_possible(Some(NumberProblem::TrunkZero)),
        refused(DispatchState::Refused, Reason::Country, None),
        refused(DispatchState::Refused, Reason::OperatorBlock, None),
        refused(DispatchState::Refused, Reason::NumberKind, None),
        conflict(),
        refused(DispatchState::Superseded, Reason::Newer, None),
        client_flooded(1),
        number_flooded(5),
        quota_full(600),
    ]);
    ShowProblems = authorized::problems::<scope::Read>().into_iter().chain([Problem::no_dispatch()]);
}
