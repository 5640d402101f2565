//! Times in milliseconds since 1970, by the database's clock.

use std::time::Duration;

use jiff::Timestamp;

/// `at` plus `by`, or the latest representable time on overflow.
pub fn after(at: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    from_millis(at.as_millisecond().saturating_add(millis))
}

/// `at` minus `by`.
pub fn before(at: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    from_millis(at.as_millisecond().saturating_sub(millis))
}

/// Time from `from` to `to`, or zero if `to` is earlier.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0))
}

/// Whole seconds from `now` to `until`, rounded up and at least 1, for `Retry-After`.
pub fn seconds_until(now: Timestamp, until: Timestamp) -> u64 {
    (between(now, until).as_millis() as u64).div_ceil(1000).max(1)
}

/// A time from milliseconds since 1970, clamped to the representable range.
pub fn from_millis(millis: i64) -> Timestamp {
    let clamped = millis.clamp(Timestamp::MIN.as_millisecond() + 1, Timestamp::MAX.as_millisecond());
    Timestamp::from_millisecond(clamped).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The machine's clock, for uses without the database: log lines, TLS, the age of a mail.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
pub fn machine_now() -> Timestamp {
    from_millis(Timestamp::now().as_millisecond())
}
