//! The HTTP answer of a carrier, and what its status means where the carrier's own codes say nothing.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::domain::attempt::{Outcome, Reason, RefusalScope};

/// The longest `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

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
        serde_json::from_slice(self.body.as_deref()?).ok()
    }

    /// Returns whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the time of the header `Retry-After`, at most one day.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers.get("retry-after")?.to_str().ok()?, self.at)
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

/// Parses `Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3).
pub fn retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is more than one day.
        return Some(text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs).min(MAX_RETRY_AFTER));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(crate::domain::clock::between(now, at).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::retry_after;

    #[test]
    fn retry_after_reads_seconds_and_dates_and_caps_the_absurd() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let s = |text| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(s("7"), Some(7));
        assert_eq!(s("Thu, 01 Jan 2026 00:02:00 GMT"), Some(120));
        assert_eq!(s("Wed, 01 Jan 2025 00:02:00 GMT"), Some(0));
        assert_eq!(s("99999999999"), Some(86_400));
        assert_eq!(s("99999999999999999999999999"), Some(86_400));
        assert_eq!(s("soon"), None);
        assert_eq!(s("-5"), None);
        assert_eq!(s("+5"), None);
        assert_eq!(s(""), None);
    }
}
