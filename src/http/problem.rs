//! Errors as problem+json (RFC 9457): what happened and what to do, never a value of the request.

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
    /// Which problem: the last part of its type URI. Stable.
    ProblemKind {
        /// No good key was shown.
        Unauthorized = "unauthorized",
        /// The key may not do this.
        Forbidden = "forbidden",
        /// There is nothing at this path, or no dispatch of this id.
        Unknown = "unknown",
        /// The path does not take the method.
        Method = "method",
        /// The body broke off.
        Unreadable = "unreadable",
        /// The body is too long.
        TooLarge = "too-large",
        /// A job breaks a rule.
        InvalidJob = "invalid-job",
        /// An act breaks a rule.
        InvalidAct = "invalid-act",
        /// Another request breaks a rule.
        Invalid = "invalid",
        /// A job breaks no rule, and is not sent all the same.
        Refused = "refused",
        /// The id is known with other content.
        Conflict = "conflict",
        /// A newer dispatch of the same sign-in is there.
        Superseded = "superseded",
        /// The dispatch has ended.
        Final = "final",
        /// No further request of the dispatch may begin.
        Stopped = "stopped",
        /// The plan has no further step.
        PlanOver = "plan-over",
        /// The step that was asked for before was not tried yet.
        Pending = "pending",
        /// The tenant has no webhook.
        NoWebhook = "no-webhook",
        /// Too many requests.
        TooMany = "too-many",
        /// Too many streams are open.
        TooManyStreams = "too-many-streams",
        /// This process does not hear of events.
        EventsAway = "events-away",
        /// The ledger does not answer.
        LedgerAway = "ledger-away",
        /// The answer took too long.
        TimeOut = "time-out",
        /// A receipt is not its carrier's.
        InvalidCallback = "not-believed",
    }
}

/// The content type of an error answer.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// An error answer (RFC 9457): what happened, and what to do. No value of the request is ever repeated in it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Which problem it is; stable. `https://otpost.io/problems/<name>`
    #[serde(rename = "type")]
    #[schema(pattern = "^https://otpost\\.io/problems/[a-z-]+$")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[serde(serialize_with = "number")]
    #[schema(value_type = u16, minimum = 400, maximum = 599)]
    status: StatusCode,
    /// What happened, and what to do, for people.
    detail: String,
    /// The field that breaks a rule; `body` for the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rule: Option<String>,
    /// Why a job is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<Reason>,
    /// The state in which the dispatch has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    state: Option<State>,
    /// What stopped the dispatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stop: Option<Stop>,
    /// Seconds after which to come again; also in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_s: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn number<S: Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) fn new(status: StatusCode, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://otpost.io/problems/{kind}"),
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

    /// Nothing is served at a path.
    pub(crate) fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ProblemKind::Unknown, "there is nothing at this path")
    }

    /// A path is served, but not by this method.
    pub(crate) fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, ProblemKind::Method, "this path does not take this method")
    }

    /// No dispatch of the tenant has this id.
    pub(crate) fn no_dispatch() -> Self {
        Self::new(StatusCode::NOT_FOUND, ProblemKind::Unknown, "there is no dispatch of this id")
    }

    /// A message breaks a rule.
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

    /// The answer took too long.
    pub(crate) fn time_out() -> Self {
        let detail = "the answer took too long; send the same request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::TimeOut, detail).retry_after(1)
    }

    /// The field that it is about.
    pub(crate) fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    /// Why, in our words.
    pub(crate) fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The state that stands in the way.
    pub(crate) fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// The stop that stands in the way.
    pub(crate) fn stop(mut self, stop: Stop) -> Self {
        self.stop = Some(stop);
        self
    }

    /// When to come again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Its name: the last part of its type URI.
    pub(super) fn name(&self) -> &str {
        self.kind.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it says when to come again.
    pub(super) fn has_retry_after(&self) -> bool {
        self.retry_after_s.is_some()
    }
}

impl From<LedgerError> for Problem {
    fn from(e: LedgerError) -> Self {
        if let LedgerError::Data { .. } = e {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                ProblemKind::InvalidJob,
                "the ledger cannot keep this job",
            )
        } else {
            Self::ledger_away()
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
