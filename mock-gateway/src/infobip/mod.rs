//! Infobip's side of the wire: texts by SMS v3, their logs, their reports.
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
use crate::line::Line;
use crate::outcome::{Channel, Outcome};
use crate::perform::{lose, perform};
use crate::record::{Answer, Asked, clip};
use crate::switchboard::Switchboard;
use message::Message;
use refusal::Refusal;
use status::Status;

/// The name of this carrier in the record.
const CARRIER: &str = "infobip";

/// Routes below `/sms/3/`.
pub(crate) fn router() -> Router<Arc<Switchboard>> {
    Router::new()
        .route("/sms/3/messages", post(send))
        .route("/sms/3/logs", get(logs))
        .route("/sms/3/{*path}", any(|| async { Refusal::not_found().into_response() }))
}

async fn send(
    State(board): State<Arc<Switchboard>>, ConnectInfo(line): ConnectInfo<Line>, uri: Uri,
    headers: HeaderMap, body: Bytes,
) -> Response {
    let mut asked = Asked::new(CARRIER, Channel::Sms, "POST", uri.path(), "");
    let parsed = Message::parse(&body, &mut asked);
    // Whoever is not let in is not told what else is wrong.
    let message = match check_key(&headers, &board.config).and(parsed) {
        Ok(message) => message,
        Err(refusal) => return refuse(&board, asked, &refusal),
    };
    asked.sid = Some(message.id.clone());
    if find(&board, &message.id).is_some() {
        asked.answer = Answer::Status(StatusCode::OK.as_u16());
        board.record.asked(asked);
        return message.answer(&Status::DUPLICATE).into_response();
    }
    let outcome = board.choice.next(Channel::Sms, &message.to, None);
    asked.outcome = Some(outcome.word());
    if outcome == Outcome::Lost {
        return lose(&board, &line, asked);
    }
    if let Some(status) = refusal::status(&outcome) {
        asked.answer = Answer::Status(StatusCode::OK.as_u16());
        board.record.asked(asked);
        return message.answer(&status).into_response();
    }
    if let Some(refusal) = refusal::of(&outcome) {
        return refuse(&board, asked, &refusal);
    }
    asked.answer = match outcome {
        Outcome::HangUp => Answer::HungUp,
        Outcome::Hold { .. } => Answer::Held,
        _ => Answer::Status(StatusCode::OK.as_u16()),
    };
    let (id, answer) = (message.id.clone(), message.answer(&Status::TAKEN).into_response());
    let accepted = board.record.accepted(asked, &id, "pending", message);
    perform(&board, &line, &accepted, outcome).await;
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    message_id: Option<String>,
}

/// Only by id: `GET /sms/3/logs?messageId=…`.
async fn logs(
    State(board): State<Arc<Switchboard>>, Query(wanted): Query<Wanted>, uri: Uri, headers: HeaderMap,
) -> Response {
    let mut asked = Asked::new(CARRIER, Channel::Sms, "GET", uri.path(), "");
    if let Err(refusal) = check_key(&headers, &board.config) {
        return refuse(&board, asked, &refusal);
    }
    asked.sid = wanted.message_id.as_deref().map(clip);
    asked.answer = Answer::Status(StatusCode::OK.as_u16());
    board.record.asked(asked);
    let ids = wanted.message_id.unwrap_or_default();
    let found = ids.split(',').filter_map(|id| find(&board, id));
    let results: Vec<_> = found.map(|found| found.item.resource(&found.progress())).collect();
    Json(json!({ "results": results })).into_response()
}

fn find(board: &Switchboard, id: &str) -> Option<Arc<crate::record::Accepted>> {
    board.record.find(id).filter(|found| found.carrier == CARRIER)
}

fn check_key(headers: &HeaderMap, config: &Config) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let good = given == Some(format!("App {}", config.api_key).as_str());
    good.then_some(()).ok_or_else(Refusal::unauthorized)
}

fn refuse(board: &Switchboard, mut asked: Asked, refusal: &Refusal) -> Response {
    asked.answer = Answer::Status(refusal.status);
    board.record.asked(asked);
    refusal.into_response()
}
