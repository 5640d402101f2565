//! A simulation of Twilio's API 2010-04-01: Messages and Calls, their errors, their status callbacks.
//!
//! Sources: the `OpenAPI` file `twilio_api_v2010.json`, the official Python library, and the documentation
//! pages that comments name. Details marked *unverified* were not found in a source.

mod call;
mod message;
mod overrides;
mod problem;
mod request;
mod signature;
mod status_callback;
mod test_numbers;
mod twiml;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use uuid::Uuid;

use crate::carrier_message::CarrierMessage;
use crate::outcome::{Channel, Outcome};
use crate::outcome_runner::{lose, run_outcome};
use crate::record::{Answer, RequestRecord};
use crate::shared::Shared;
use problem::Problem;
use request::{Form, Incoming};

/// The name of this carrier in the record.
const CARRIER: &str = "twilio";

const API_VERSION: &str = "2010-04-01";

/// Routes below `/2010-04-01/`.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(create::<message::Message>))
        .route("/2010-04-01/Accounts/{account}/Calls.json", post(create::<call::Call>))
        .route("/2010-04-01/Accounts/{account}/Messages/{file}", get(read::<message::Message>))
        .route("/2010-04-01/Accounts/{account}/Calls/{file}", get(read::<call::Call>))
        .route(
            "/2010-04-01/{*path}",
            any(|uri: Uri| async move { answer_problem(&Problem::not_found(uri.path())) }),
        )
}

/// A resource that can be created and read: a message or a call.
trait Resource: CarrierMessage + Sized + 'static {
    const CHANNEL: Channel;

    /// Checks the parameters, and records them whether or not they are accepted.
    fn parse(form: &Form, request: &mut RequestRecord) -> Result<Self, Problem>;

    fn sid(&self) -> &str;

    /// The status in the answer.
    fn first_status(&self) -> &'static str;
}

async fn create<R: Resource>(State(shared): State<Arc<Shared>>, incoming: Incoming) -> Response {
    let mut request = RequestRecord::new(CARRIER, R::CHANNEL, "POST", &incoming.path, &incoming.account);
    let checked = incoming.form.as_ref().map_err(Clone::clone).and_then(|form| {
        let parsed = R::parse(form, &mut request);
        // An unauthorised request gets no other error.
        request::check_account(&incoming.headers, &incoming.account, &incoming.path, &shared.config)?;
        parsed
    });
    let resource = match checked {
        Ok(resource) => resource,
        Err(problem) => return refuse(&shared, request, &problem),
    };
    let (to, from) = (request.to.clone().unwrap_or_default(), request.from.clone().unwrap_or_default());
    let outcome = shared.choice.next(R::CHANNEL, &to, test_numbers::outcome(R::CHANNEL, &to, &from));
    request.outcome = Some(outcome.word());
    if outcome == Outcome::Lost {
        return lose(&shared, &incoming.connection, request);
    }
    if let Some(problem) = problem::refusal(&outcome, R::CHANNEL, &to, &from) {
        return refuse(&shared, request, &problem);
    }
    request.answer = match outcome {
        Outcome::HangUp => Answer::HungUp,
        Outcome::Hold { .. } => Answer::Held,
        _ => Answer::Status(StatusCode::CREATED.as_u16()),
    };
    let (sid, status) = (resource.sid().to_owned(), resource.first_status());
    let accepted = shared.record.add_accepted(request, &sid, status, resource);
    let answer = (StatusCode::CREATED, request_id(), Json(accepted.message.resource(&accepted.progress())))
        .into_response();
    run_outcome(&shared, &incoming.connection, &accepted, outcome).await;
    answer
}

async fn read<R: Resource>(
    State(shared): State<Arc<Shared>>, Path((account, file)): Path<(String, String)>, headers: HeaderMap,
    uri: Uri,
) -> Response {
    let mut request = RequestRecord::new(CARRIER, R::CHANNEL, "GET", uri.path(), &account);
    if let Err(problem) = request::check_account(&headers, &account, uri.path(), &shared.config) {
        return refuse(&shared, request, &problem);
    }
    let found = file.strip_suffix(".json").and_then(|sid| shared.record.find(sid));
    let Some(found) = found.filter(|found| found.carrier == CARRIER && found.channel == R::CHANNEL) else {
        return refuse(&shared, request, &Problem::not_found(uri.path()));
    };
    request.sid = Some(found.sid.clone());
    request.answer = Answer::Status(StatusCode::OK.as_u16());
    shared.record.add_request(request);
    (request_id(), Json(found.message.resource(&found.progress()))).into_response()
}

fn refuse(shared: &Shared, mut request: RequestRecord, problem: &Problem) -> Response {
    request.answer = Answer::Status(problem.status);
    shared.record.add_request(request);
    answer_problem(problem)
}

fn answer_problem(problem: &Problem) -> Response {
    (request_id(), problem).into_response()
}

/// A header of recorded answers.
fn request_id() -> [(&'static str, String); 1] {
    [("twilio-request-id", new_sid("RQ"))]
}

/// Two letters and 32 hexadecimal digits.
fn new_sid(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

/// `Thu, 24 Aug 2023 05:01:45 +0000`
fn rfc2822(time: Timestamp) -> String {
    // It fails only for years beyond 9999.
    jiff::fmt::rfc2822::to_string(&time.to_zoned(TimeZone::UTC)).unwrap_or_default()
}

/// A plus and two to fifteen digits, the first not a zero.
fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}
