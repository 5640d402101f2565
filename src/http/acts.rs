//! `POST /v1/dispatches/{id}/feedback`, `/next` and `/cancel`.

use axum::Json;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::body::{self, Payload};
use super::dispatches::DispatchId;
use super::openapi::problems;
use super::problem::{Problem, ProblemKind};
use super::scope;
use crate::delivery::act::{ActRefusal, ActResult, perform};
use crate::domain::attempt::State as DispatchState;
use crate::domain::dispatch::Stop;
use crate::intake::{Act, BadMessage, Verb};

/// The result of an act.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActAnswer {
    /// The sender's id of the dispatch.
    id: Uuid,
    /// The current state. The act may change it later.
    state: DispatchState,
}

type Answer = Result<(StatusCode, Json<ActAnswer>), Problem>;

/// Report whether the code was verified
///
/// `verified: true` means that the user entered the right code: otpost sends nothing further. `verified: false` is only
/// counted.
#[utoipa::path(
    post,
    path = "/v1/dispatches/{id}/feedback",
    tag = "acts",
    params(("id" = Uuid, Path, description = "The sender's id of the dispatch")),
    request_body(content = ref("#/components/schemas/FeedbackBody"), content_type = "application/json"),
    responses(
        (status = 202, description = "The act took effect", body = ActAnswer),
        (status = 200, description = "Nothing changed: the feedback had already taken effect, or was only counted", body = ActAnswer),
        FeedbackProblems
    )
)]
pub(super) async fn feedback(caller: Authorized<scope::Act>, id: DispatchId, body: Payload) -> Answer {
    act(Verb::Feedback, caller, id, body).await
}

/// Start the next step of the plan now
///
/// For example for a "Call me instead" button. With `step`, the step to leave, a repeated request advances only once.
#[utoipa::path(
    post,
    path = "/v1/dispatches/{id}/next",
    tag = "acts",
    params(("id" = Uuid, Path, description = "The sender's id of the dispatch")),
    request_body(content = ref("#/components/schemas/NextBody"), content_type = "application/json"),
    responses(
        (status = 202, description = "The next step begins", body = ActAnswer),
        (status = 200, description = "Nothing changed: the dispatch has already left this step, or the next one was requested before", body = ActAnswer),
        NextProblems
    )
)]
pub(super) async fn next(caller: Authorized<scope::Act>, id: DispatchId, body: Payload) -> Answer {
    act(Verb::Next, caller, id, body).await
}

/// Cancel the dispatch
///
/// No further attempt begins. An attempt that a carrier has accepted still gets its delivery receipt.
#[utoipa::path(
    post,
    path = "/v1/dispatches/{id}/cancel",
    tag = "acts",
    params(("id" = Uuid, Path, description = "The sender's id of the dispatch")),
    request_body(content = ref("#/components/schemas/CancelBody"), content_type = "application/json"),
    responses(
        (status = 202, description = "The act took effect", body = ActAnswer),
        (status = 200, description = "Nothing changed: the dispatch was already cancelled", body = ActAnswer),
        CancelProblems
    )
)]
pub(super) async fn cancel(caller: Authorized<scope::Act>, id: DispatchId, body: Payload) -> Answer {
    act(Verb::Cancel, caller, id, body).await
}

/// Performs an act. Returns 202 when it changes something, and 200 when it changes nothing.
async fn act(
    verb: Verb, caller: Authorized<scope::Act>, DispatchId(id): DispatchId, Payload(body): Payload,
) -> Answer {
    let act = Act::decode(verb, &body, Some((&caller.key.tenant, id)))
        .map_err(|bad| Problem::invalid(INVALID, bad))?;
    let state = &caller.api.state;
    match perform(&state.ledger, &state.waker, &state.metrics, &act).await? {
        ActResult::Done { state, .. } => Ok((StatusCode::ACCEPTED, Json(ActAnswer { id, state }))),
        ActResult::Nothing { state } => Ok((StatusCode::OK, Json(ActAnswer { id, state }))),
        ActResult::Refused(barred) => Err(conflict(barred)),
        ActResult::Unknown => Err(Problem::no_dispatch()),
    }
}

const INVALID: ProblemKind = ProblemKind::InvalidAct;

/// The answer to an act that is not possible.
pub(super) fn conflict(barred: ActRefusal) -> Problem {
    let no = |kind, detail| Problem::new(StatusCode::CONFLICT, kind, detail);
    match barred {
        ActRefusal::Final(state) => {
            no(ProblemKind::Final, "the dispatch has ended; a new message is a new dispatch").state(state)
        }
        ActRefusal::Stopped(stop) => {
            no(ProblemKind::Stopped, "the dispatch was stopped; no further request may begin").stop(stop)
        }
        ActRefusal::Pending => {
            no(ProblemKind::Pending, "the step that was requested earlier has not been tried yet")
        }
        ActRefusal::PlanOver => no(ProblemKind::PlanOver, "the plan has no further step; dispatch a new job"),
    }
}

problems! {
    FeedbackProblems = bad_act("verified", "must be true or false");
    NextProblems = bad_act("step", "must be a whole number from 1 to 4").into_iter().chain([
        conflict(ActRefusal::Final(DispatchState::Delivered)),
        conflict(ActRefusal::Stopped(Stop::Cancel)),
        conflict(ActRefusal::PlanOver),
        conflict(ActRefusal::Pending),
    ]);
    CancelProblems = bad_act("surprise", "is not a field of cancel").into_iter()
        .chain([conflict(ActRefusal::Final(DispatchState::Delivered))]);
}

/// The problems that every act may be answered with.
fn bad_act(field: &str, rule: &str) -> Vec<Problem> {
    let mut all = authorized::problems::<scope::Act>();
    all.extend(body::problems());
    all.push(Problem::no_dispatch());
    for (field, rule) in [("body", "is not JSON (line 1, column 1)"), (field, rule)] {
        all.push(Problem::invalid(INVALID, BadMessage::new(field, rule)));
    }
    all
}
