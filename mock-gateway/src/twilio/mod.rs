//! Twilio's side of the wire, as its 2010-04-01 API has it: Messages and Calls, their errors, their status
//! callbacks.
//!
//! Sources: the `OpenAPI` file `twilio_api_v2010.json`, the official Python library, and the documentation
//! pages named beside what was taken from them. What is marked *unverified* was not found in a source.

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

use crate::item::Item;
use crate::outcome::{Channel, Outcome};
use crate::perform::{lose, perform};
use crate::record::{Answer, Asked};
use crate::switchboard::Switchboard;
use problem::Problem;
use request::{Form, Incoming};

/// The name of this carrier in the record.
const CARRIER: &str = "twilio";

const API_VERSION: &str = "2010-04-01";

/// Routes below `/2010-04-01/`.
pub(crate) fn router() -> Router<Arc<Switchboard>> {
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

/// What can be created and read: a message or a call.
trait Resource: Item + Sized + 'static {
    const CHANNEL: Channel;

    /// Check the parameters, and note what they say whether they are accepted or not.
    fn parse(form: &Form, asked: &mut Asked) -> Result<Self, Problem>;

    fn sid(&self) -> &str;

    /// The status in the answer.
    fn first_status(&self) -> &'static str;
}

async fn create<R: Resource>(State(board): State<Arc<Switchboard>>, incoming: Incoming) -> Response {
    let mut asked = Asked::new(CARRIER, R::CHANNEL, "POST", &incoming.path, &incoming.account);
    let checked = incoming.form.as_ref().map_err(Clone::clone).and_then(|form| {
        let parsed = R::parse(form, &mut asked);
        // Whoever is not let in is not told what else is wrong.
        request::check_account(&incoming.headers, &incoming.account, &incoming.path, &board.config)?;
        parsed
    });
    let resource = match checked {
        Ok(resource) => resource,
        Err(problem) => return refuse(&board, asked, &problem),
    };
    let (to, from) = (asked.to.clone().unwrap_or_default(), asked.from.clone().unwrap_or_default());
    let outcome = board.choice.next(R::CHANNEL, &to, test_numbers::outcome(R::CHANNEL, &to, &from));
    asked.outcome = Some(outcome.word());
    if outcome == Outcome::Lost {
        return lose(&board, &incoming.line, asked);
    }
    if let Some(problem) = problem::refusal(&outcome, R::CHANNEL, &to, &from) {
        return refuse(&board, asked, &problem);
    }
    asked.answer = match outcome {
        Outcome::HangUp => Answer::HungUp,
        Outcome::Hold { .. } => Answer::Held,
        _ => Answer::Status(StatusCode::CREATED.as_u16()),
    };
    let (sid, status) = (resource.sid().to_owned(), resource.first_status());
    let accepted = board.record.accepted(asked, &sid, status, resource);
    let answer = (StatusCode::CREATED, request_id(), Json(accepted.item.resource(&accepted.progress())))
        .into_response();
    perform(&board, &incoming.line, &accepted, outcome).await;
    answer
}

async fn read<R: Resource>(
    State(board): State<Arc<Switchboard>>, Path((account, file)): Path<(String, String)>, headers: HeaderMap,
    uri: Uri,
) -> Response {
    let mut asked = Asked::new(CARRIER, R::CHANNEL, "GET", uri.path(), &account);
    if let Err(problem) = request::check_account(&headers, &account, uri.path(), &board.config) {
        return refuse(&board, asked, &problem);
    }
    let found = file.strip_suffix(".json").and_then(|sid| board.record.find(sid));
    let Some(found) = found.filter(|found| found.carrier == CARRIER && found.channel == R::CHANNEL) else {
        return refuse(&board, asked, &Problem::not_found(uri.path()));
    };
    asked.sid = Some(found.sid.clone());
    asked.answer = Answer::Status(StatusCode::OK.as_u16());
    board.record.asked(asked);
    (request_id(), Json(found.item.resource(&found.progress()))).into_response()
}

fn refuse(board: &Switchboard, mut asked: Asked, problem: &Problem) -> Response {
    asked.answer = Answer::Status(problem.status);
    board.record.asked(asked);
    answer_problem(problem)
}

fn answer_problem(problem: &Problem) -> Response {
    (request_id(), problem).into_response()
}

/// A header seen on recorded answers.
fn request_id() -> [(&'static str, String); 1] {
    [("twilio-request-id", new_sid("RQ"))]
}

/// Two letters and 32 hexadecimal digits.
fn new_sid(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

/// `Thu, 24 Aug 2023 05:01:45 +0000`
fn rfc2822(time: Timestamp) -> String {
    // It fails for years beyond 9999 only.
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
