//! Clocks: wall time for values that people and other systems read, time since boot (`CLOCK_BOOTTIME`) for measuring durations.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

/// Returns the wall time of this machine in whole microseconds, the precision of both databases.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
pub fn now() -> Timestamp {
    whole_micros(Timestamp::now())
}

/// Truncates a time to whole microseconds, so that it is unchanged after a round trip through a database.
pub fn whole_micros(t: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t)
}

/// Returns the time since boot. Time in suspension counts.
pub fn boot() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// The clock of an embedded ledger: the machine's, or one that a test controls.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// A fixed time that changes only when a test sets it.
    Held(Arc<Mutex<Timestamp>>),
}

impl Clock {
    /// Returns the current time of this clock.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => now(),
            Self::Held(t) => *t.lock().expect("no thread panics while it holds the clock"),
        }
    }
}

/// Returns `t + d`, or the maximum timestamp on overflow.
pub fn after(t: Timestamp, d: Duration) -> Timestamp {
    t.checked_add(d).unwrap_or(Timestamp::MAX)
}

/// Returns the duration from `from` until `until`, or zero if `until` has passed.
pub fn between(from: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// Returns a wait in whole seconds, rounded up and at least 1, as the value of `Retry-After`. A client that waits this long does not
/// return too early.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::whole_seconds;

    #[test]
    fn a_wait_is_rounded_up() {
        for (nanos, seconds) in [
            (0, 1),
            (1, 1),
            (1_000_000_000, 1),
            (1_000_000_001, 2),
            (1_000_999_999, 2),
            (1_001_000_000, 2),
            (2_000_000_000, 2),
        ] {
            assert_eq!(whole_seconds(Duration::from_nanos(nanos)), seconds, "{nanos} ns");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
