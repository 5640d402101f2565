//! The two clocks: wall time for what people and other machines read, boot time for how long something took.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

/// Wall time of this machine, in whole microseconds (what both databases keep).
#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
pub fn now() -> Timestamp {
    whole_micros(Timestamp::now())
}

/// Cuts a time to whole microseconds, so that it equals itself after a round trip through a database.
pub fn whole_micros(t: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t)
}

/// Time since boot, suspension included: a machine that slept for a minute has aged by a minute.
pub fn boot() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// The clock of an embedded ledger: the machine's, or one that a test holds.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// Stands still until it is set.
    Held(Arc<Mutex<Timestamp>>),
}

impl Clock {
    /// The time by this clock.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => now(),
            Self::Held(t) => *t.lock().expect("no thread panics while it holds the clock"),
        }
    }
}

/// `t + d`, or the last time there is.
pub fn after(t: Timestamp, d: Duration) -> Timestamp {
    t.checked_add(d).unwrap_or(Timestamp::MAX)
}

/// How long from `from` until `until`; zero when it has passed.
pub fn between(from: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(from)).unwrap_or(Duration::ZERO)
}
