//! Errors as problem documents (RFC 9457). No value of a request is quoted.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use crate::clock::seconds_until;
use crate::flow::FlowError;

/// An error of the API.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    field: Option<String>,
    retry_after_s: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), field: None, retry_after_s: None }
    }

    pub(super) fn invalid(field: impl Into<String>, rule: &str) -> Self {
        let field = field.into();
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{field}: {rule}"));
        Self { field: Some(field), ..problem }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a bearer key is needed: make one with `two-step keys create`",
        )
    }

    pub(super) fn forbidden(scope: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("the key lacks the scope {scope}"))
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing here")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "this path takes other methods")
    }

    pub(super) fn ended(state: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "ended", format!("the challenge has ended: {state}"))
    }

    pub(super) fn case_over(state: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "ended", format!("the case is over: {state}"))
    }

    pub(super) fn gone() -> Self {
        Self::new(StatusCode::GONE, "ended", "the ticket is used, over, or was never given out")
    }

    pub(super) fn limited(detail: &str, retry_after_s: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "limited", detail);
        Self { retry_after_s: Some(retry_after_s), ..problem }
    }

    pub(super) fn locked(detail: &str, retry_after_s: Option<u64>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "locked", detail);
        Self { retry_after_s, ..problem }
    }

    pub(super) fn too_big() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-big", "the body may have at most 64 KiB")
    }

    pub(super) fn unavailable() -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "the database does not answer; nothing was done",
        );
        Self { retry_after_s: Some(2), ..problem }
    }
}

impl From<FlowError> for Problem {
    fn from(e: FlowError) -> Self {
        match e {
            FlowError::Missing(_) => Self::not_found(),
            FlowError::Invalid { field, rule } => Self::invalid(field, rule),
            FlowError::Limited { until, now } => Self::limited("a limit is full", seconds_until(now, until)),
            FlowError::Store(_) | FlowError::Seal(_) => {
                tracing::error!(reason = %e, "a request cannot be served");
                Self::unavailable()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:two-step:problem:{}", self.kind), "title": self.status.canonical_reason(),
            "status": self.status.as_u16(), "detail": self.detail,
        });
        if let (Some(field), Json::Object(map)) = (&self.field, &mut body) {
            map.insert("field".to_owned(), json!(field));
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(s) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(s));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
