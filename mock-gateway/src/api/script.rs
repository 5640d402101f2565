//! `POST /api/script` and `DELETE /api/script`: scripts the outcomes of the next requests to a number.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::problem;
use crate::choice::digits;
use crate::outcome::{Channel, Spelled};
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    to: String,
    /// `None` means both.
    channel: Option<Channel>,
    outcomes: Vec<Spelled>,
}

pub(super) async fn add(State(shared): State<Arc<Shared>>, Json(script): Json<Script>) -> Response {
    if digits(&script.to).is_empty() {
        return problem(StatusCode::BAD_REQUEST, "\"to\" has no digits: give a phone number.");
    }
    let queued = script.outcomes.len();
    let outcomes = script.outcomes.into_iter().map(|spelled| spelled.0).collect();
    if !shared.choice.script(&script.to, script.channel, outcomes) {
        return problem(
            StatusCode::INSUFFICIENT_STORAGE,
            "Too many outcomes are queued: DELETE /api/script first.",
        );
    }
    Json(serde_json::json!({ "queued": queued })).into_response()
}

pub(super) async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.choice.clear();
    StatusCode::NO_CONTENT
}
