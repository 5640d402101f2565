//! Counts of deliveries, by interval and cell, for the people who watch them.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::attempt::{Outcome, ReceiptStatus};
use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
use crate::domain::clock::between;
use crate::domain::delivery_cell::Cell;
use crate::domain::words::words;

/// The interval of recent counts.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// A receipt is missing after this time.
pub const RECEIPT_WAIT: Duration = Duration::from_secs(60);
/// A code that is entered is reported as verified within this time.
pub const VERIFIED_WAIT: Duration = Duration::from_secs(5 * 60);
words! {
    /// The kinds of counts. The words are the columns in the ledger.
    Counted {
        /// Attempts that were answered, or had no answer in time.
        Attempts = "attempts",
        /// Attempts that the carrier accepted.
        Accepted = "accepted",
        /// Attempts of which it is unknown whether the carrier accepted them.
        Unknown = "unknown",
        /// Attempts whose receipt says that the message will not arrive.
        Undelivered = "undelivered",
        /// Attempts with a final receipt within [`RECEIPT_WAIT`].
        Receipt60s = "receipt_60s",
        /// Attempts whose code was reported as verified.
        Verified = "verified",
        /// The same, within [`VERIFIED_WAIT`].
        Verified5min = "verified_5min",
        /// Message parts that carriers charge.
        Segments = "segments",
        /// Attempts with the receipt `delivered` within 1 s of their begin.
        Delivered1s = "delivered_1s",
        /// Within 2 s, and not before.
        Delivered2s = "delivered_2s",
        /// Within 5 s, and not before.
        Delivered5s = "delivered_5s",
        /// Within 10 s, and not before.
        Delivered10s = "delivered_10s",
        /// Within 20 s, and not before.
        Delivered20s = "delivered_20s",
        /// Within 30 s, and not before.
        Delivered30s = "delivered_30s",
        /// Within 60 s, and not before.
        Delivered60s = "delivered_60s",
        /// Within 2 minutes, and not before.
        Delivered2min = "delivered_2min",
        /// Within 5 minutes, and not before.
        Delivered5min = "delivered_5min",
        /// Later.
        DeliveredLater = "delivered_later",
    }
}

/// The times to the handset, with the upper bound of each in seconds. The last one has none.
pub const HANDSET_TIMES: [(Counted, Option<u64>); 10] = [
    (Counted::Delivered1s, Some(1)),
    (Counted::Delivered2s, Some(2)),
    (Counted::Delivered5s, Some(5)),
    (Counted::Delivered10s, Some(10)),
    (Counted::Delivered20s, Some(20)),
    (Counted::Delivered30s, Some(30)),
    (Counted::Delivered60s, Some(60)),
    (Counted::Delivered2min, Some(120)),
    (Counted::Delivered5min, Some(300)),
    (Counted::DeliveredLater, None),
];

/// The counts of a cell. A correction may make a count of one interval negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryCounts([i64; Counted::ALL.len()]);

impl DeliveryCounts {
    /// The counts in the order of [`Counted::ALL`].
    pub fn new(counts: [i64; Counted::ALL.len()]) -> Self {
        Self(counts)
    }

    /// One count.
    pub fn of(&self, counted: Counted) -> i64 {
        self.0[counted as usize]
    }

    /// Adds to one count.
    pub fn add(&mut self, counted: Counted, number: i64) {
        self.0[counted as usize] += number;
    }

    /// Adds all counts of another.
    pub fn add_all(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// Attempts with the receipt `delivered`.
    pub fn delivered(&self) -> i64 {
        HANDSET_TIMES.iter().map(|(counted, _)| self.of(*counted)).sum()
    }

    /// Attempts that the carrier did not accept, or whose message did not reach the handset by a receipt.
    pub fn failed(&self) -> i64 {
        let attempts = self.of(Counted::Attempts);
        (attempts - self.of(Counted::Accepted) + self.of(Counted::Undelivered)).clamp(0, attempts.max(0))
    }

    /// Attempts with the receipt `delivered` within these seconds of their begin. The number must be a bound of [`HANDSET_TIMES`].
    pub fn delivered_within(&self, seconds: u64) -> i64 {
        let within = |bound: &Option<u64>| bound.is_some_and(|bound| bound <= seconds);
        HANDSET_TIMES.iter().filter(|(_, bound)| within(bound)).map(|(counted, _)| self.of(*counted)).sum()
    }

    /// The time within which this part (0 to 1) of the delivered messages arrived, in seconds: interpolated between the bounds of
    /// [`HANDSET_TIMES`]. `None` without deliveries. The last bound, if it was longer.
    pub fn handset_quantile(&self, part: f64) -> Option<f64> {
        let all = self.delivered();
        if all <= 0 {
            return None;
        }
        let (wanted, mut before, mut from) = (part * all as f64, 0.0, 0.0);
        for (counted, bound) in HANDSET_TIMES {
            let (here, Some(to)) = (self.of(counted) as f64, bound) else { break };
            if before + here >= wanted && here > 0.0 {
                return Some(from + (to as f64 - from) * ((wanted - before) / here).clamp(0.0, 1.0));
            }
            (before, from) = (before + here, to as f64);
        }
        Some(from)
    }

    /// Counts a fact.
    pub fn count(&mut self, fact: &AttemptFact) {
        let after = between(fact.begun_at, fact.at);
        match &fact.event {
            // Nothing was sent, and no carrier is to blame.
            AttemptEvent::Answered { outcome: Outcome::NotSent(cause), .. } if cause.is_own() => {}
            AttemptEvent::Answered { outcome, segments, .. } => {
                self.add(Counted::Attempts, 1);
                self.add(Counted::Segments, i64::from(segments.unwrap_or(0)));
                match outcome {
                    Outcome::Accepted => self.add(Counted::Accepted, 1),
                    Outcome::Unknown => self.add(Counted::Unknown, 1),
                    _ => {}
                }
            }
            AttemptEvent::Accepted { was_unknown } => {
                self.add(Counted::Accepted, 1);
                self.add(Counted::Unknown, -i64::from(*was_unknown));
            }
            AttemptEvent::Receipt { status, corrects, .. } => {
                if !corrects && after <= RECEIPT_WAIT {
                    self.add(Counted::Receipt60s, 1);
                }
                match status {
                    ReceiptStatus::Interim => {}
                    ReceiptStatus::Bad => self.add(Counted::Undelivered, 1),
                    ReceiptStatus::Delivered => {
                        self.add(Counted::Undelivered, -i64::from(*corrects));
                        self.add(handset_time(after), 1);
                    }
                }
            }
            AttemptEvent::Verified => {
                self.add(Counted::Verified, 1);
                self.add(Counted::Verified5min, i64::from(after <= VERIFIED_WAIT));
            }
        }
    }
}

/// The first bound that a time does not exceed.
fn handset_time(after: Duration) -> Counted {
    let within = |bound: &Option<u64>| bound.is_none_or(|bound| after <= Duration::from_secs(bound));
    HANDSET_TIMES
        .iter()
        .find(|(_, bound)| within(bound))
        .map_or(Counted::DeliveredLater, |(counted, _)| *counted)
}

/// The counts of a cell in an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountRow {
    /// The begin of the interval, a multiple of its width since 1970.
    pub started_at: Timestamp,
    /// The width of the interval, in seconds.
    pub width_s: u32,
    /// The cell.
    pub cell: Cell,
    /// The counts.
    pub counts: DeliveryCounts,
}

/// The begin of the interval that holds a moment.
pub fn interval_start(at: Timestamp, width: Duration) -> Timestamp {
    let width = width.as_secs().max(1) as i64;
    Timestamp::from_second(at.as_second().div_euclid(width) * width).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Cell, Counted, DeliveryCounts, interval_start};
    use crate::domain::attempt::{AttemptId, Outcome, ReceiptStatus};
    use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
    use crate::domain::channel::Channel;

    fn fact(after_s: i64, event: AttemptEvent) -> AttemptFact {
        let begun_at = Timestamp::from_second(1_800_000_000).unwrap();
        let at = Timestamp::from_second(1_800_000_000 + after_s).unwrap();
        let attempt = AttemptId { uid: uuid::Uuid::nil(), n: 1 };
        AttemptFact {
            attempt,
            traceparent: None,
            cell: Cell::other(Channel::Sms),
            admitted_at: begun_at,
            begun_at,
            at,
            event,
        }
    }

    fn counts(facts: &[(i64, AttemptEvent)]) -> DeliveryCounts {
        let mut counts = DeliveryCounts::default();
        for (after_s, event) in facts {
            counts.count(&fact(*after_s, event.clone()));
        }
        counts
    }

    const ACCEPTED: AttemptEvent = AttemptEvent::Answered {
        outcome: Outcome::Accepted,
        segments: Some(2),
        is_repeat: false,
        code: None,
    };

    fn receipt(status: ReceiptStatus, corrects: bool) -> AttemptEvent {
        AttemptEvent::Receipt { status, corrects, code: None }
    }

    #[test]
    fn a_delivery_counts_at_the_first_bound_that_it_keeps() {
        let counts = counts(&[
            (1, ACCEPTED),
            (1, receipt(ReceiptStatus::Delivered, false)),
            (30, receipt(ReceiptStatus::Delivered, false)),
            (31, receipt(ReceiptStatus::Delivered, false)),
            (61, receipt(ReceiptStatus::Delivered, false)),
            (301, receipt(ReceiptStatus::Delivered, false)),
        ]);
        assert_eq!(counts.delivered(), 5);
        assert_eq!([10, 30, 60, 300].map(|s| counts.delivered_within(s)), [1, 2, 3, 4]);
        assert_eq!(counts.of(Counted::Receipt60s), 3);
        assert_eq!((counts.of(Counted::Attempts), counts.of(Counted::Segments)), (1, 2));
    }

    #[test]
    fn a_corrected_receipt_counts_once() {
        let counts =
            counts(&[(5, receipt(ReceiptStatus::Bad, false)), (9, receipt(ReceiptStatus::Delivered, true))]);
        assert_eq!((counts.of(Counted::Undelivered), counts.delivered()), (0, 1));
        assert_eq!(counts.of(Counted::Receipt60s), 1);
    }

    #[test]
    fn an_unknown_attempt_whose_acceptance_is_proved_is_accepted() {
        let unknown = AttemptEvent::Answered {
            outcome: Outcome::Unknown,
            segments: None,
            is_repeat: false,
            code: None,
        };
        let counts = counts(&[(1, unknown), (4, AttemptEvent::Accepted { was_unknown: true })]);
        assert_eq!(
            [Counted::Attempts, Counted::Accepted, Counted::Unknown].map(|counted| counts.of(counted)),
            [1, 1, 0]
        );
    }

    #[test]
    fn the_time_to_the_handset_is_interpolated() {
        let delivered = |n: usize, after_s| vec![(after_s, receipt(ReceiptStatus::Delivered, false)); n];
        assert_eq!(counts(&[]).handset_quantile(0.5), None);
        let counted = counts(&[delivered(50, 4), delivered(50, 8)].concat());
        assert_eq!(counted.handset_quantile(0.5), Some(5.0));
        assert_eq!(counted.handset_quantile(0.95), Some(9.5));
        assert_eq!(counts(&delivered(3, 1000)).handset_quantile(0.5), Some(300.0));
    }

    #[test]
    fn an_interval_begins_at_a_multiple_of_its_width() {
        let at: Timestamp = "2026-05-04T14:05:19.5Z".parse().unwrap();
        assert_eq!(interval_start(at, super::INTERVAL), "2026-05-04T14:05:10Z".parse().unwrap());
    }
}
