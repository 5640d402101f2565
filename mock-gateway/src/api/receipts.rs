//! `POST /api/receipts/{sid}`: a callback by hand, now.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::problem;
use crate::item::News;
use crate::switchboard::Switchboard;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipt {
    /// The carrier's word; any that looks like one, so that a new word can be tried.
    status: String,
    error_code: Option<u32>,
}

/// Sent whether or not the customer asked to be told of this state, as long as there is an address.
pub(super) async fn send(
    State(board): State<Arc<Switchboard>>, Path(sid): Path<String>, Json(receipt): Json<Receipt>,
) -> Response {
    let Some(accepted) = board.record.find(&sid) else {
        return problem(StatusCode::NOT_FOUND, "No text or call with this sid was accepted.");
    };
    let word = &receipt.status;
    if word.is_empty()
        || word.len() > 32
        || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
    {
        return problem(StatusCode::BAD_REQUEST, "\"status\" is not a status word, such as delivered.");
    }
    let news = News { status: receipt.status.into(), error_code: receipt.error_code, ..News::of("") };
    match board.while_running(board.tell(&accepted, &news, true)).await.flatten() {
        Some(told) => Json(told).into_response(),
        None => {
            problem(StatusCode::CONFLICT, "The state is noted, but there is no StatusCallback to tell it to.")
        }
    }
}
