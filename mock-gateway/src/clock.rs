//! The one place that asks what time it is.

use jiff::Timestamp;

/// Now, to the millisecond: nobody reads the rest, and it would double the length of every time in the
/// record.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    let exact = Timestamp::now();
    Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
}
