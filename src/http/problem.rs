//! Error answers as problem+json (RFC 9457): what happened and what to do. They never repeat a value of the request.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::attempt::{Reason, State};
use crate::domain::dispatch::Stop;
use crate::domain::words::words;
use crate::intake::BadMessage;
use crate::ledger::LedgerError;

words! {
    /// The kind of a problem: the last part of its type URI. Names are stable.
    ProblemKind {
        /// The API key is missing or invalid.
        Unauthorized = "unauthorized",
        /// The API key lacks the required scope.
        Forbidden = "forbidden",
        /// The path does not exist, or the tenant has no dispatch with this id.
        Unknown = "unknown",
        /// The path does not support the method.
        Method = "method",
        /// The body is incomplete, or is not in the expected format.
        Unreadable = "unreadable",
        /// The body exceeds 64 KiB.
        TooLarge = "too-large",
        /// The job violates a rule.
        InvalidJob = "invalid-job",
        /// The act violates a rule.
        InvalidAct = "invalid-act",
        /// Another request violates a rule.
        Invalid = "invalid",
        /// The job is valid, but is not sent.
        Refused = "refused",
        /// A dispatch with the same id and other content exists.
        Conflict = "conflict",
        /// A newer dispatch of the same sign-in exists.
        Superseded = "superseded",
        /// The dispatch is in a final state.
        Final = "final",
        /// The dispatch is stopped, so no further attempt may begin.
        Stopped = "stopped",
        /// The plan has no further step.
        PlanOver = "plan-over",
        /// The step of an earlier request was not tried yet.
        Pending = "pending",
        /// The carrier is retired.
        Retired = "retired",
        /// The carrier is paused.
        Paused = "paused",
        /// A dispatch is still under way.
        UnderWay = "under-way",
        /// The tenant has no webhook.
        NoWebhook = "no-webhook",
        /// A rate limit or a quota is exceeded.
        TooMany = "too-many",
        /// The process has too many open event streams.
        TooManyStreams = "too-many-streams",
        /// The process receives no events from the broker.
        EventsAway = "events-away",
        /// The ledger does not answer.
        LedgerAway = "ledger-away",
        /// The request exceeded its time limit.
        TimeOut = "time-out",
        /// The token or signature of a callback is wrong.
        InvalidCallback = "not-believed",
    }
}

/// The content type of an error answer.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// An error answer (RFC 9457): what happened, and what to do. It never repeats a value of the request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The kind of the problem; stable. `https://otpost.io/problems/<name>`
    #[serde(rename = "type", serialize_with = "uri")]
    #[schema(value_type = String, pattern = "^https://otpost\\.io/problems/[a-z-]+$")]
    kind: ProblemKind,
    /// The reason phrase of the HTTP status.
    title: &'static str,
    /// The HTTP status code.
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    status: StatusCode,
    /// What happened and what to do, for people.
    detail: String,
    /// The field that violates a rule; `body` for the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// The violated rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rule: Option<String>,
    /// Why the job was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<Reason>,
    /// The final state of the dispatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    state: Option<State>,
    /// Why the dispatch was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stop: Option<Stop>,
    /// Seconds to wait before a retry; also in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_s: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn number<S: Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn uri<S: Serializer>(kind: &ProblemKind, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("https://otpost.io/problems/{kind}"))
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            field: None,
            rule: None,
            reason: None,
            state: None,
            stop: None,
            retry_after_s: None,
        }
    }

    /// The path does not exist.
    pub(crate) fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ProblemKind::Unknown, "there is no such path")
    }

    /// The path does not support the method.
    pub(crate) fn no_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ProblemKind::Method,
            "the path does not support this method",
        )
    }

    /// The tenant has no dispatch with this id.
    pub(crate) fn no_dispatch() -> Self {
        Self::new(StatusCode::NOT_FOUND, ProblemKind::Unknown, "there is no dispatch with this id")
    }

    /// A message violates a rule.
    pub(crate) fn invalid(kind: ProblemKind, bad: BadMessage) -> Self {
        let status =
            if bad.field == "body" { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
        let mut problem = Self::new(status, kind, bad.to_string()).field(&bad.field);
        problem.rule = Some(bad.rule);
        problem
    }

    /// The ledger does not answer.
    pub(crate) fn ledger_away() -> Self {
        let detail = "the ledger does not answer; send the same request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::LedgerAway, detail).retry_after(1)
    }

    /// The request exceeded its time limit.
    pub(crate) fn time_out() -> Self {
        let detail = "the answer took too long; send the same request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::TimeOut, detail).retry_after(1)
    }

    /// Sets the invalid field.
    pub(crate) fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// Sets the reason of a refusal.
    pub(crate) fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Sets the final state that prevents the act.
    pub(crate) fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// Sets the stop that prevents the act.
    pub(crate) fn stop(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Sets the time to wait before a retry.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The name of the kind: the last part of the type URI.
    pub(super) fn name(&self) -> &'static str {
        self.kind.as_str()
    }

    /// Whether the problem has a `retry_after_s`.
    pub(super) fn has_retry_after(&self) -> bool {
        self.retry_after_s.is_some()
    }
}

impl From<LedgerError> for Problem {
    fn from(e: LedgerError) -> Self {
        match e {
            LedgerError::Data { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                ProblemKind::InvalidJob,
                "the ledger cannot store this request",
            ),
            LedgerError::Unusable(_) | LedgerError::UnknownForm | LedgerError::Panic(_) => {
                let detail = "the ledger cannot be used for this request; the log of otpost says why";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::LedgerAway, detail).retry_after(1)
            }
            LedgerError::Unreachable(_)
            | LedgerError::Unwritable(_)
            | LedgerError::TooSlow(_)
            | LedgerError::NoConnection
            | LedgerError::Conflict => Self::ledger_away(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_string(&self).expect("plain structs with text keys serialise");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}
