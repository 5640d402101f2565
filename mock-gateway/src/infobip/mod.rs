//! A simulation of Infobip's SMS API v3: texts, their logs, their reports.
//!
//! Sources: the official client infobip-api-python-client 6.0.0, generated from the carrier's `OpenAPI`, and the
//! documentation page "Response status and error codes". What is marked *unverified* was not found in a source.

mod message;
mod refusal;
mod status;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::config::Config;
use crate::connection::ConnectionHandle;
use crate::outcome::{Channel, Outcome};
use crate::outcome_runner::{lose, run_outcome};
use crate::record::{Answer, RequestRecord, clip};
use crate::shared::Shared;
use message::Message;
use refusal::Refusal;
use status::Status;

/// The name of this carrier in the record.
const CARRIER: &str = "infobip";

/// Routes below `/sms/3/`.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sms/3/messages", post(send))
        .route("/sms/3/logs", get(logs))
        .route("/sms/3/{*path}", any(|| async { Refusal::not_found().into_response() }))
}

async fn send(
    State(shared): State<Arc<Shared>>, ConnectInfo(connection): ConnectInfo<ConnectionHandle>, uri: Uri,
    headers: HeaderMap, body: Bytes,
) -> Response {
    let mut request = RequestRecord::new(CARRIER, Channel::Sms, "POST", uri.path(), "");
    let parsed = Message::parse(&body, &mut request);
    // An unauthorised request gets no other error.
    let message = match check_key(&headers, &shared.config).and(parsed) {
        Ok(message) => message,
        Err(refusal) => return refuse(&shared, request, &refusal),
    };
    request.sid = Some(message.id.clone());
    if find(&shared, &message.id).is_some() {
        request.answer = Answer::Status(StatusCode::OK.as_u16());
        shared.record.add_request(request);
        return message.answer(&Status::DUPLICATE).into_response();
    }
    let outcome = shared.choice.next(Channel::Sms, &message.to, None);
    request.outcome = Some(outcome.word());
    if outcome == Outcome::Lost {
        return lose(&shared, &connection, request);
    }
    if let Some(status) = refusal::status(&outcome) {
        request.answer = Answer::Status(StatusCode::OK.as_u16());
        shared.record.add_request(request);
        return message.answer(&status).into_response();
    }
    if let Some(refusal) = refusal::of(&outcome) {
        return refuse(&shared, request, &refusal);
    }
    request.answer = match outcome {
        Outcome::HangUp => Answer::HungUp,
        Outcome::Hold { .. } => Answer::Held,
        _ => Answer::Status(StatusCode::OK.as_u16()),
    };
    let (id, answer) = (message.id.clone(), message.answer(&Status::ACCEPTED).into_response());
    let accepted = shared.record.add_accepted(request, &id, "pending", message);
    run_outcome(&shared, &connection, &accepted, outcome).await;
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    message_id: Option<String>,
}

/// Only by id: `GET /sms/3/logs?messageId=…`.
async fn logs(
    State(shared): State<Arc<Shared>>, Query(wanted): Query<Wanted>, uri: Uri, headers: HeaderMap,
) -> Response {
    let mut request = RequestRecord::new(CARRIER, Channel::Sms, "GET", uri.path(), "");
    if let Err(refusal) = check_key(&headers, &shared.config) {
        return refuse(&shared, request, &refusal);
    }
    request.sid = wanted.message_id.as_deref().map(clip);
    request.answer = Answer::Status(StatusCode::OK.as_u16());
    shared.record.add_request(request);
    let ids = wanted.message_id.unwrap_or_default();
    let found = ids.split(',').filter_map(|id| find(&shared, id));
    let results: Vec<_> = found.map(|found| found.message.resource(&found.progress())).collect();
    Json(json!({ "results": results })).into_response()
}

fn find(shared: &Shared, id: &str) -> Option<Arc<crate::record::Accepted>> {
    shared.record.find(id).filter(|found| found.carrier == CARRIER)
}

fn check_key(headers: &HeaderMap, config: &Config) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let good = given == Some(format!("App {}", config.api_key).as_str());
    good.then_some(()).ok_or_else(Refusal::unauthorized)
}

fn refuse(shared: &Shared, mut request: RequestRecord, refusal: &Refusal) -> Response {
    request.answer = Answer::Status(refusal.status);
    shared.record.add_request(request);
    refusal.into_response()
}
