//! Where a scan of due rows begins.
//!
//! While a snapshot is open for long, for example by a backup, PostgreSQL keeps the index entries of deleted rows. A scan from the
//! beginning would walk all of them, every time. So a scan begins shortly before the time up to which the last one has found everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Nothing is due earlier.
const BEGINNING: Timestamp = Timestamp::UNIX_EPOCH;
/// Rows may be committed this much later than they are due.
const MARGIN: Duration = Duration::from_secs(60);
/// At this interval a scan begins at the beginning, whatever the last one has found.
const WHOLE_SCAN_INTERVAL: Duration = Duration::from_secs(60);

/// The beginnings of the scans of a process.
#[derive(Default)]
pub(super) struct ScanStarts {
    pub(super) fresh_timers: ScanStart,
    pub(super) other_timers: ScanStart,
    receivers: Mutex<BTreeMap<String, Arc<ScanStart>>>,
}

impl ScanStarts {
    /// The beginning of the scans for a receiver's events.
    pub(super) fn of_receiver(&self, receiver: &str) -> Arc<ScanStart> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(receivers.entry(receiver.to_owned()).or_default())
    }
}

/// The beginning of the next scan of one kind of rows.
#[derive(Default)]
pub(super) struct ScanStart(Mutex<Option<Complete>>);

/// The scans since the last one that began at the beginning.
#[derive(Clone, Copy)]
struct Complete {
    whole_at: Instant,
    /// The ledger's clock at the last scan that found everything.
    until: Timestamp,
}

impl ScanStart {
    /// Rows that were due before this time need no look.
    pub(super) fn begin(&self) -> Timestamp {
        self.begin_at(Instant::now())
    }

    /// Records a scan that began at `from` and has left nothing that is due at `now`, the ledger's clock.
    pub(super) fn record_complete(&self, from: Timestamp, now: Timestamp) {
        self.record_complete_at(from, now, Instant::now());
    }

    fn begin_at(&self, at: Instant) -> Timestamp {
        let complete = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = complete.filter(|complete| at < complete.whole_at + WHOLE_SCAN_INTERVAL);
        recent.map_or(BEGINNING, |complete| before(complete.until, MARGIN))
    }

    fn record_complete_at(&self, from: Timestamp, now: Timestamp, at: Instant) {
        let mut complete = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *complete = match *complete {
            _ if from == BEGINNING => Some(Complete { whole_at: at, until: now }),
            // The ledger's clock has stepped back: what is due from now on is earlier than what was found.
            Some(last) if now < last.until => None,
            Some(last) => Some(Complete { until: now, ..last }),
            None => None,
        };
    }
}

fn before(t: Timestamp, by: Duration) -> Timestamp {
    t.checked_sub(by).unwrap_or(BEGINNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).expect("a time")
    }

    #[test]
    fn a_scan_begins_before_the_end_of_the_last_one_and_each_minute_at_the_beginning() {
        let (start, began) = (ScanStart::default(), Instant::now());
        assert_eq!(start.begin_at(began), BEGINNING);
        start.record_complete_at(BEGINNING, t(100), began);
        let second = began + Duration::from_secs(1);
        assert_eq!(start.begin_at(second), t(40));
        start.record_complete_at(t(40), t(101), second);
        assert_eq!(start.begin_at(second), t(41));
        assert_eq!(start.begin_at(began + WHOLE_SCAN_INTERVAL), BEGINNING);
        start.record_complete_at(BEGINNING, t(160), began + WHOLE_SCAN_INTERVAL);
        assert_eq!(start.begin_at(began + WHOLE_SCAN_INTERVAL), t(100));
    }

    #[test]
    fn after_a_step_back_of_the_ledgers_clock_the_next_scan_begins_at_the_beginning() {
        let (start, began) = (ScanStart::default(), Instant::now());
        start.record_complete_at(BEGINNING, t(5000), began);
        start.record_complete_at(t(4940), t(10), began);
        assert_eq!(start.begin_at(began), BEGINNING);
    }
}
