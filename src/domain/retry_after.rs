//! The header `Retry-After`.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock::between;

/// The longest `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

/// Parses `Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3). `date` is the header `Date` of the same answer. A pause until a
/// date begins there, because this machine's clock may differ from the server's. Without a valid `date` it begins at `now`.
pub fn retry_after(text: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is more than one day.
        return Some(text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs).min(MAX_RETRY_AFTER));
    }
    let answered_at = date.and_then(http_date).unwrap_or(now);
    Some(between(answered_at, http_date(text)?).min(MAX_RETRY_AFTER))
}

/// Parses an HTTP date in each of its three forms (RFC 9110, 5.6.7). Some servers write an offset, as in an e-mail.
fn http_date(text: &str) -> Option<Timestamp> {
    let of_mail = || jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok();
    let of_http = httpdate::parse_http_date(text).ok().and_then(|at| Timestamp::try_from(at).ok());
    of_http.or_else(of_mail)
}

#[cfg(test)]
mod tests {
    use super::retry_after;

    #[test]
    fn retry_after_reads_seconds_and_dates_and_caps_the_absurd() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let s = |text| retry_after(text, None, now).map(|d| d.as_secs());
        assert_eq!(s("7"), Some(7));
        for date in [
            "Thu, 01 Jan 2026 00:02:00 GMT",
            "Thursday, 01-Jan-26 00:02:00 GMT",
            "Thu Jan  1 00:02:00 2026",
            "Thu, 1 Jan 2026 01:02:00 +0100",
        ] {
            assert_eq!(s(date), Some(120), "{date}");
        }
        assert_eq!(s("Wed, 01 Jan 2025 00:02:00 GMT"), Some(0));
        assert_eq!(s("99999999999"), Some(86_400));
        assert_eq!(s("99999999999999999999999999"), Some(86_400));
        assert_eq!(s("soon"), None);
        assert_eq!(s("Thu, 41 Jan 2026 00:02:00 GMT"), None);
        assert_eq!(s("-5"), None);
        assert_eq!(s("+5"), None);
        assert_eq!(s(""), None);
    }

    #[test]
    fn a_date_is_counted_from_the_date_of_the_answer() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let later = "Thu, 01 Jan 2026 00:02:00 GMT";
        for (date, seconds) in [
            (None, 120),
            (Some("Thu, 01 Jan 2026 00:01:30 GMT"), 30),
            (Some("Wednesday, 31-Dec-25 23:59:00 GMT"), 180),
            (Some("not a date"), 120),
        ] {
            assert_eq!(retry_after(later, date, now).unwrap().as_secs(), seconds, "{date:?}");
            assert_eq!(retry_after("7", date, now).unwrap().as_secs(), 7, "{date:?}");
        }
    }
}
