//! The HTTP answer of a carrier, and what its status means where the carrier's own codes say nothing.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::domain::attempt::{Outcome, Reason, RefusalScope};
use crate::domain::json;
use crate::domain::retry_after::retry_after;

/// The HTTP answer of a carrier.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; `None` if it was too long or incomplete.
    pub body: Option<Vec<u8>>,
    /// When the answer arrived, by this machine's clock.
    pub at: jiff::Timestamp,
}

impl Answer {
    /// Returns the body as JSON, or `None` if it is not JSON.
    pub fn json(&self) -> Option<serde_json::Value> {
        self.read()
    }

    /// Returns the body as a `T`, or `None` if it is not JSON of this form.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        json::parse(self.body.as_deref()?).ok()
    }

    /// Returns whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the time of the header `Retry-After`, at most one day.
    pub fn retry_after(&self) -> Option<Duration> {
        let header = |name: &str| self.headers.get(name)?.to_str().ok();
        retry_after(header("retry-after")?, header("date"), self.at)
    }

    /// Returns the outcome by the status only. A 2xx or 5xx does not prove whether the carrier has accepted the message.
    pub fn outcome_by_status(&self) -> Outcome {
        match self.status {
            429 => Outcome::Throttled { retry_after: self.retry_after() },
            401 | 403 | 404 => Outcome::Misconfigured(RefusalScope::Account),
            400..=499 => Outcome::Rejected(Reason::Request),
            _ => Outcome::Unknown,
        }
    }
}
