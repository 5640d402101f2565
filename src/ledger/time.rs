//! The ledger's time between two answers: its clock as it was last read, and what has passed here since. A machine whose
//! own wall clock is wrong judges codes like all the others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock::{after, whole_micros};

/// The ledger's clock, as this process knows it. Here time is boot time, which nobody sets.
#[derive(Default)]
pub(super) struct KnownTime {
    /// What the ledger's clock said, and when it said so here.
    read: Mutex<Option<(Timestamp, Duration)>>,
}

impl KnownTime {
    /// The ledger's clock was read between these two moments.
    pub(super) fn learn(&self, theirs: Timestamp, asked: Duration, answered: Duration) {
        let middle = (asked + answered) / 2;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some((theirs, middle));
    }

    /// What the ledger's clock says now; none where it was never read.
    pub(super) fn now(&self, here: Duration) -> Option<Timestamp> {
        let read = *self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.map(|(theirs, at)| whole_micros(after(theirs, here.saturating_sub(at))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::KnownTime;

    #[test]
    fn it_goes_on_from_the_last_reading_and_follows_a_step() {
        let (known, s) = (KnownTime::default(), Duration::from_secs);
        assert_eq!(known.now(s(10)), None);
        let (noon, one) = ("2026-01-01T12:00:00Z".parse().unwrap(), "2026-01-01T13:00:00Z".parse().unwrap());
        known.learn(noon, s(10), s(12));
        assert_eq!(known.now(s(71)), Some("2026-01-01T12:01:00Z".parse().unwrap()));
        known.learn(one, s(100), s(100));
        assert_eq!(known.now(s(100)), Some(one));
        known.learn(noon, s(200), s(200));
        assert_eq!(known.now(s(200)), Some(noon), "back again");
    }
}
