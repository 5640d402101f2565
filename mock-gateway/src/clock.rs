//! The only module that reads the clock.

use jiff::Timestamp;

/// Returns the current time in milliseconds, which keeps the times in the record short.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    let exact = Timestamp::now();
    Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
}
