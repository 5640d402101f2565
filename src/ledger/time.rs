//! The ledger's clock between two checks: the last reading plus the time that has passed on this machine. A worker with a wrong
//! wall clock therefore computes the same expiry as the others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::clock::{after, whole_micros};

/// Maximum relative drift between the two clocks: 200 ppm.
const MAX_DRIFT: f64 = 0.0002;

/// Estimate of the ledger's clock. Local time is the time since boot, which nobody can set.
#[derive(Default)]
pub(super) struct ClockEstimate {
    reading: Mutex<Option<Reading>>,
}

/// A reading of the ledger's clock.
#[derive(Clone, Copy)]
struct Reading {
    theirs: Timestamp,
    /// The time since boot at the reading.
    at: Duration,
    /// The largest error of `at`: half of the time that the answer took.
    error: Duration,
}

impl Reading {
    fn now(&self, here: Duration) -> Timestamp {
        after(self.theirs, here.saturating_sub(self.at))
    }

    /// The largest error of the estimate at a later time.
    fn error(&self, here: Duration) -> Duration {
        self.error + here.saturating_sub(self.at).mul_f64(MAX_DRIFT)
    }
}

impl ClockEstimate {
    /// Records a reading that was taken between `sent_at` and `answered_at`. A slow answer, such as the first of a new connection, does
    /// not replace a better estimate that it does not contradict.
    pub(super) fn record_reading(&self, theirs: Timestamp, sent_at: Duration, answered_at: Duration) {
        let new = Reading {
            theirs,
            at: (sent_at + answered_at) / 2,
            error: answered_at.saturating_sub(sent_at) / 2,
        };
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let is_better = |old: &Reading| {
            let difference = old.now(new.at).duration_since(theirs).unsigned_abs();
            old.error(new.at) < new.error && difference <= old.error(new.at) + new.error
        };
        if !reading.as_ref().is_some_and(is_better) {
            *reading = Some(new);
        }
    }

    /// The estimated time of the ledger. `None` before the first reading.
    pub(super) fn now(&self, here: Duration) -> Option<Timestamp> {
        let reading = *self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        reading.map(|reading| whole_micros(reading.now(here)))
    }
}

/// The smallest UUIDv7 of this millisecond.
pub(super) fn uuid_at(t: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(t.as_millisecond().max(0)).unwrap_or(0) << 80)
}

/// A new UUIDv7 of this time.
pub(super) fn uuid_from(t: Timestamp) -> Uuid {
    let millis = u64::try_from(t.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &crate::seal::random()).into_uuid()
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

    #[test]
    fn a_slow_answer_does_not_spoil_a_good_estimate() {
        let (known, ms) = (ClockEstimate::default(), Duration::from_millis);
        let at = |millis: i64| jiff::Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap();
        known.record_reading(at(0), ms(0), ms(2));
        // Four seconds of connecting, and then the reading.
        known.record_reading(at(14_000), ms(10_000), ms(14_001));
        assert_eq!(known.now(ms(20_001)), Some(at(20_000)));
        // The clock was set: both cannot be right.
        known.record_reading(at(60_000), ms(30_000), ms(34_000));
        assert_eq!(known.now(ms(32_000)), Some(at(60_000)));
        // After a long time a slow answer is the better one.
        known.record_reading(at(0), ms(40_000), ms(40_000));
        known.record_reading(at(100_000_000), ms(100_040_000), ms(100_044_000));
        assert_eq!(known.now(ms(100_042_000)), Some(at(100_000_000)));
    }
}
