//! The gateway's own API for tests and for the page: requests, scripts and manual receipts. The crate's
//! README describes it.

mod phones;
mod receipts;
mod records;
mod script;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::magic::{MAGIC, MagicNumber};
use crate::shared::Shared;

/// Routes below `/api/`.
pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/requests", get(records::requests))
        .route("/api/accepted", get(records::accepted))
        .route("/api/phones", get(phones::phones))
        .route("/api/magic", get(magic))
        .route("/api/script", post(script::add).delete(script::clear))
        .route("/api/receipts/{sid}", post(receipts::send))
}

async fn magic() -> Json<&'static [MagicNumber]> {
    Json(MAGIC)
}

/// An error answer with one sentence.
fn problem(status: StatusCode, sentence: &str) -> Response {
    (status, Json(serde_json::json!({ "error": sentence }))).into_response()
}
