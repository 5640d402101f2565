//! Refusals in Twilio's format: an HTTP status, a code, a message.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::outcome::{Channel, Outcome};

/// One refusal. Messages are copied from recorded answers if known, and otherwise our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    pub(super) code: u32,
    pub(super) message: String,
    /// Seconds for `Retry-After`.
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A missing or invalid parameter.
    pub(super) fn parameter(code: u32, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// The message is **unverified**.
    pub(super) fn unauthorized() -> Self {
        Self::new(401, 20003, "Authenticate")
    }

    /// The message is **unverified**.
    pub(super) fn not_found(path: &str) -> Self {
        Self::new(404, 20404, format!("The requested resource {path} was not found"))
    }
}

impl IntoResponse for &Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "code": self.code,
            "message": self.message,
            "more_info": format!("https://www.twilio.com/docs/errors/{}", self.code),
            "status": self.status,
        });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            let realm = HeaderValue::from_static("Basic realm=\"Twilio API\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}

/// Returns the refusal of an outcome, or `None` if the outcome accepts the request.
///
/// Codes for calls, other than 20xxx and those shared with texts, and the codes 20500 and 20503 are
/// **unverified**.
pub(super) fn refusal(outcome: &Outcome, channel: Channel, to: &str, from: &str) -> Option<Problem> {
    let by_channel = |sms, voice| match channel {
        Channel::Sms => sms,
        Channel::Voice => voice,
    };
    let problem = match outcome {
        Outcome::Unavailable => Problem::new(503, 20503, "Service is unavailable. Please try again"),
        Outcome::ServerError => Problem::new(500, 20500, "An internal server error has occurred"),
        Outcome::Throttle { retry_after_s } => {
            let problem = Problem::new(429, 20429, "Too Many Requests");
            Problem { retry_after: Some(*retry_after_s), ..problem }
        }
        Outcome::Unauthorized => Problem::unauthorized(),
        Outcome::InvalidNumber => invalid_number(by_channel(21211, 21217), to),
        Outcome::NotMobile => Problem::parameter(21614, format!("To number: {to}, is not a mobile number")),
        Outcome::Unsubscribed => Problem::parameter(
            by_channel(21610, 21216),
            "The message From/To pair violates a blacklist rule.",
        ),
        Outcome::NoPermission => Problem::parameter(
            by_channel(21408, 21215),
            format!("Permission has not been enabled for the region indicated by the 'To' number: {to}."),
        ),
        Outcome::Unroutable => Problem::parameter(
            by_channel(21612, 21214),
            format!("The 'To' phone number: {to}, is not reachable using the 'From' phone number: {from}."),
        ),
        Outcome::QueueFull => Problem::new(429, 21611, "SMS queue is full."),
        Outcome::InvalidSender => invalid_sender(from),
        Outcome::SenderNotOwned => Problem::parameter(
            by_channel(21606, 21210),
            format!(
                "The From phone number {from} is not a valid, SMS-capable inbound phone number \
                 or short code for your account."
            ),
        ),
        Outcome::Reject { status, code, message } => {
            let message = message.clone().unwrap_or_else(|| format!("Rejected by a script with {code}"));
            Problem::new(*status, *code, message)
        }
        Outcome::Deliver
        | Outcome::Undelivered { .. }
        | Outcome::Failed { .. }
        | Outcome::LateDelivery
        | Outcome::Silent
        | Outcome::ReceiptFirst
        | Outcome::Slow { .. }
        | Outcome::HangUp
        | Outcome::Lost
        | Outcome::Hold { .. }
        | Outcome::Busy
        | Outcome::NoAnswer
        | Outcome::CallFailed { .. }
        | Outcome::Machine
        | Outcome::NoKey => return None,
    };
    Some(problem)
}

pub(super) fn invalid_number(code: u32, to: &str) -> Problem {
    Problem::parameter(code, format!("The 'To' number {to} is not a valid phone number."))
}

pub(super) fn invalid_sender(from: &str) -> Problem {
    let message = format!(
        "The 'From' number {from} is not a valid phone number, shortcode, or alphanumeric sender ID."
    );
    Problem::parameter(21212, message)
}
