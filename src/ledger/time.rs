//! The ledger's clock between two checks: the last reading plus the time that has passed on this machine. A worker with a wrong
//! wall clock therefore computes the same expiry as the others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::clock::{after, whole_micros};

/// Estimate of the ledger's clock. Local time is the time since boot, which nobody can set.
#[derive(Default)]
pub(super) struct ClockEstimate {
    /// The last reading of the ledger's clock, and the time since boot at the reading.
    read: Mutex<Option<(Timestamp, Duration)>>,
}

impl ClockEstimate {
    /// Records a reading that was taken between `sent_at` and `answered_at`.
    pub(super) fn record_reading(&self, theirs: Timestamp, sent_at: Duration, answered_at: Duration) {
        let middle = (sent_at + answered_at) / 2;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((theirs, middle));
    }

    /// The estimated time of the ledger. `None` before the first reading.
    pub(super) fn now(&self, here: Duration) -> Option<Timestamp> {
        let read = *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.map(|(theirs, at)| whole_micros(after(theirs, here.saturating_sub(at))))
    }
}

/// The smallest UUIDv7 of this millisecond.
pub(super) fn uuid_at(t: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(t.as_millisecond().max(0)).unwrap_or(0) << 80)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::ClockEstimate;

    #[test]
    fn it_goes_on_from_the_last_reading_and_follows_a_step() {
        let (known, s) = (ClockEstimate::default(), Duration::from_secs);
        assert_eq!(known.now(s(10)), None);
        let (noon, one) = ("2026-01-01T12:00:00Z".parse().unwrap(), "2026-01-01T13:00:00Z".parse().unwrap());
        known.record_reading(noon, s(10), s(12));
        assert_eq!(known.now(s(71)), Some("2026-01-01T12:01:00Z".parse().unwrap()));
        known.record_reading(one, s(100), s(100));
        assert_eq!(known.now(s(100)), Some(one));
        known.record_reading(noon, s(200), s(200));
        assert_eq!(known.now(s(200)), Some(noon), "back again");
    }
}
