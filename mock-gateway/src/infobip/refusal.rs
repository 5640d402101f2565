//! Refusals: an error of the request, or a status of the text in a 200 answer.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::status::Status;
use crate::outcome::Outcome;

/// An error of the request.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    code: &'static str,
    retry_after: Option<u64>,
}

impl Refusal {
    /// The values of `errorCode` are **unverified**.
    const fn new(status: u16, code: &'static str) -> Self {
        Self { status, code, retry_after: None }
    }

    pub(super) const fn unauthorized() -> Self {
        Self::new(401, "E401")
    }

    pub(super) const fn not_found() -> Self {
        Self::new(404, "E404")
    }

    pub(super) const fn unreadable() -> Self {
        Self::new(400, "E400")
    }
}

/// Returns the request error of an outcome.
pub(super) fn of(outcome: &Outcome) -> Option<Refusal> {
    Some(match outcome {
        Outcome::Unavailable => Refusal::new(503, "E503"),
        Outcome::ServerError => Refusal::new(500, "E500"),
        Outcome::Throttle { retry_after_s } => {
            Refusal { retry_after: Some(*retry_after_s), ..Refusal::new(429, "E429") }
        }
        Outcome::Unauthorized => Refusal::unauthorized(),
        Outcome::Reject { status, .. } if *status != 200 => Refusal::new(*status, "E4XX"),
        _ => return None,
    })
}

/// Returns the status of an outcome with a valid request.
pub(super) fn status(outcome: &Outcome) -> Option<Status> {
    Some(match outcome {
        Outcome::InvalidNumber | Outcome::NotMobile => Status::new("REJECTED", 52, "REJECTED_DESTINATION"),
        Outcome::Unsubscribed => Status::new("REJECTED", 10, "REJECTED_DND"),
        Outcome::NoPermission | Outcome::Unroutable => {
            Status::new("REJECTED", 19, "REJECTED_ROUTE_NOT_AVAILABLE")
        }
        Outcome::QueueFull => Status::new("REJECTED", 20, "REJECTED_FLOODING_FILTER"),
        Outcome::InvalidSender => Status::new("REJECTED", 13, "REJECTED_SENDER"),
        Outcome::SenderNotOwned => Status::new("REJECTED", 11, "REJECTED_SOURCE"),
        Outcome::Reject { status: 200, code, .. } => Status::any("REJECTED", *code),
        _ => return None,
    })
}

impl IntoResponse for &Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({
            "errorCode": self.code, "description": "text of the mock gateway", "action": "", "violations": [],
            "resources": [],
        }));
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        match self.retry_after {
            Some(seconds) => (status, [(header::RETRY_AFTER, seconds.to_string())], body).into_response(),
            None => (status, body).into_response(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (&self).into_response()
    }
}
