//! Errors as problem+json (RFC 9457): what happened and what to do, never a value of the request.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::dispatch::BadMessage;
use crate::ledger::LedgerError;

/// An error answer.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of its type URI; stable.
    kind: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), more: Map::new(), retry_after_s: None }
    }

    /// Nothing is served at a path.
    pub(crate) fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", "there is nothing at this path")
    }

    /// The same by another name.
    pub(crate) fn named(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// A further member of the body.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// When to come again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self.with("retry_after_s", seconds)
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<BadMessage> for Problem {
    fn from(bad: BadMessage) -> Self {
        let status =
            if bad.field == "body" { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
        Self::new(status, "invalid-job", bad.to_string()).with("field", bad.field).with("rule", bad.rule)
    }
}

impl From<LedgerError> for Problem {
    fn from(e: LedgerError) -> Self {
        if let LedgerError::Data { .. } = e {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-job", "the ledger cannot keep this job")
        } else {
            let detail = "the ledger does not answer; send the same request again";
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "ledger-away", detail).retry_after(1)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": format!("https://otpost.io/problems/{}", self.kind),
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(members) = body.as_object_mut() {
            members.extend(self.more);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}
