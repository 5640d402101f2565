//! `POST /api/receipts/{sid}`: sends a callback now.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::problem;
use crate::carrier_message::StateChange;
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    /// The carrier's status word. Unknown words are allowed, to test new ones.
    status: String,
    error_code: Option<u32>,
}

/// Sends even if the client did not request this state, if there is a callback URL.
pub(super) async fn send(
    State(shared): State<Arc<Shared>>, Path(sid): Path<String>, Json(receipt): Json<Receipt>,
) -> Response {
    let Some(accepted) = shared.record.find(&sid) else {
        return problem(StatusCode::NOT_FOUND, "No text or call with this sid was accepted.");
    };
    let word = &receipt.status;
    if word.is_empty()
        || word.len() > 32
        || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
    {
        return problem(StatusCode::BAD_REQUEST, "\"status\" is not a status word, such as delivered.");
    }
    let change =
        StateChange { status: receipt.status.into(), error_code: receipt.error_code, ..StateChange::of("") };
    match shared.while_running(shared.report(&accepted, &change, true)).await.flatten() {
        Some(result) => Json(result).into_response(),
        None => problem(StatusCode::CONFLICT, "The state was stored, but the message has no StatusCallback."),
    }
}
