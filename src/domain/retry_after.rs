//! The header `Retry-After`.

use std::time::Duration;

use jiff::Timestamp;

/// The longest `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// Parses `Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3).
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
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
