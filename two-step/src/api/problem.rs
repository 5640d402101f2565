//! Errors as problem documents (RFC 9457). They never quote a value of the request.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::clock::seconds_until;
use crate::flow::{AppRefused, FlowError};
use crate::signature::BadSignature;

/// The content type of an error.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// An error with its cause and a remedy. It never quotes a value of the request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The type of problem, stable: `urn:two-step:problem:<name>`
    #[serde(rename = "type")]
    #[schema(value_type = String, pattern = "^urn:two-step:problem:[a-z-]+$")]
    kind: Kind,
    /// The name of the status.
    title: &'static str,
    /// The status.
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    status: StatusCode,
    /// The cause, and the remedy.
    detail: String,
    /// The invalid field of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    #[schema(value_type = String)]
    field: Option<Box<str>>,
    /// The final state of the challenge or the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "locked")]
    state: Option<&'static str>,
    /// The server's time in seconds since 1970, if the client's clock is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    now: Option<i64>,
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

/// The last part of a problem's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(&'static str);

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("urn:two-step:problem:{}", self.0))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn number<S: Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self {
            kind: Kind(kind),
            title,
            status,
            detail: detail.into(),
            field: None,
            state: None,
            now: None,
            retry_after_s: None,
        }
    }

    /// The last part of its type.
    pub(super) fn name(&self) -> &'static str {
        self.kind.0
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn has_retry_after(&self) -> bool {
        self.retry_after_s.is_some()
    }

    pub(super) fn invalid(field: impl Into<String>, rule: &str) -> Self {
        let field = field.into();
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{field}: {rule}"));
        Self { field: Some(field.into()), ..problem }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "the bearer key is missing or unknown; create one with `two-step keys create`",
        )
    }

    /// The signature of an app's request is missing or invalid.
    pub(super) fn signature(bad: BadSignature) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "signature", bad.to_string())
    }

    pub(super) fn unknown_key() -> Self {
        let detail = "no app has this key; it was removed or replaced, or the set-up was not finished; set the app up again";
        Self::new(StatusCode::UNAUTHORIZED, "unknown-key", detail)
    }

    pub(super) fn clock(now: Timestamp) -> Self {
        let detail = "`created` is more than a minute off; sign again with the time in `now`";
        let problem = Self::new(StatusCode::UNAUTHORIZED, "clock", detail);
        Self { now: Some(now.as_second()), ..problem }
    }

    pub(super) fn replayed() -> Self {
        let detail = "the nonce was already used; use a new nonce for each request";
        Self::new(StatusCode::UNAUTHORIZED, "replayed", detail)
    }

    pub(super) fn set_up_code() -> Self {
        let detail = "the set-up code is wrong, used or expired; show a new one in the settings";
        Self::new(StatusCode::CONFLICT, "set-up-code", detail)
    }

    pub(super) fn forbidden(scope: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("the key lacks the scope {scope}"))
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "not found")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "the path does not support this method",
        )
    }

    pub(super) fn ended(state: &'static str) -> Self {
        let problem = Self::new(StatusCode::CONFLICT, "ended", format!("the challenge has ended: {state}"));
        Self { state: Some(state), ..problem }
    }

    pub(super) fn request_replaced() -> Self {
        let detail = "a newer request replaced this one; show the newer one";
        let problem = Self::new(StatusCode::CONFLICT, "ended", detail);
        Self { state: Some("replaced"), ..problem }
    }

    pub(super) fn case_over(state: &'static str) -> Self {
        let problem = Self::new(StatusCode::CONFLICT, "ended", format!("the case has ended: {state}"));
        Self { state: Some(state), ..problem }
    }

    pub(super) fn gone() -> Self {
        Self::new(StatusCode::GONE, "ended", "the ticket was used, has expired, or does not exist")
    }

    pub(super) fn not_ready(detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "not-ready", detail)
    }

    pub(super) fn in_flight() -> Self {
        let detail = "the same request is still running; repeat it later";
        let problem = Self::new(StatusCode::CONFLICT, "in-flight", detail);
        Self { retry_after_s: Some(1), ..problem }
    }

    pub(super) fn unknown_outcome() -> Self {
        let detail = "it is unknown whether this request was carried out; check, then send it with another Idempotency-Key";
        Self::new(StatusCode::CONFLICT, "unknown-outcome", detail)
    }

    pub(super) fn limited(detail: &str, retry_after_s: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "limited", detail);
        Self { retry_after_s: Some(u32::try_from(retry_after_s).unwrap_or(u32::MAX)), ..problem }
    }

    pub(super) fn locked(detail: &str, retry_after_s: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "locked", detail);
        Self { retry_after_s: Some(u32::try_from(retry_after_s).unwrap_or(u32::MAX)), ..problem }
    }

    pub(super) fn broken_off() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable", "the request body ended early")
    }

    pub(super) fn too_big() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-big", "the body may have at most 64 KiB")
    }

    pub(super) fn unavailable() -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "two-step cannot answer now; try again with the same Idempotency-Key, because the request may have been carried out",
        );
        Self { retry_after_s: Some(2), ..problem }
    }
}

impl From<FlowError> for Problem {
    fn from(e: FlowError) -> Self {
        match e {
            FlowError::Missing(_) => Self::not_found(),
            FlowError::ProofMissing => proof_missing(),
            FlowError::Invalid { field, rule } => Self::invalid(field, rule),
            FlowError::Limited { until, now } => {
                Self::limited("a rate limit is reached", seconds_until(now, until))
            }
            FlowError::Store(_) | FlowError::Seal(_) | FlowError::Internal(_) => {
                tracing::error!(reason = %e, "request failed");
                Self::unavailable()
            }
        }
    }
}

impl From<AppRefused> for Problem {
    fn from(refused: AppRefused) -> Self {
        match refused {
            AppRefused::Signature(bad) => Self::signature(bad),
            AppRefused::UnknownKey => Self::unknown_key(),
            AppRefused::Clock { now } => Self::clock(now),
            AppRefused::Replayed => Self::replayed(),
            AppRefused::TooOften => Self::limited("this app exceeds two calls per second", 1),
        }
    }
}

fn proof_missing() -> Problem {
    let rule = "two-step verification is on; send the `jti` of a `confirm` result that is not older than `proof.fresh`";
    Problem::invalid("proof", rule)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after_s) = (self.status, self.retry_after_s);
        let is_for_bearers = self.kind.0 == "unauthorized";
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(s) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(s));
        }
        if is_for_bearers {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
