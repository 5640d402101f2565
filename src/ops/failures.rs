//! Recent failures by carrier, country and error code: why messages fail.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::attempt::Outcome;
use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
use crate::domain::channel::Channel;
use crate::domain::delivery_cell::Cell;
use crate::domain::delivery_count::interval_start;

/// Failures are counted in windows of this width. The current one and the one before count.
const WINDOW: Duration = Duration::from_secs(300);
/// Maximum number of counts in a window.
const MAX_KINDS: usize = 500;
/// Maximum number of counts in a report.
const MAX_REPORTED: usize = 40;
/// A longer code is not one.
const MAX_LENGTH: usize = 24;

/// How often a kind of failure happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// The channel.
    pub channel: Channel,
    /// The configured carrier.
    pub carrier: String,
    /// The country of the numbers.
    pub country: String,
    /// What happened: the outcome of the request, or `undelivered`.
    pub what: String,
    /// The carrier's error code. Empty without one.
    pub code: String,
    /// How often.
    pub count: u64,
}

/// What happened to a message that was accepted and did not arrive.
pub const UNDELIVERED: &str = "undelivered";

impl FailureCount {
    /// Whether a receipt said that the message did not arrive.
    pub fn is_undelivered(&self) -> bool {
        self.what == UNDELIVERED
    }

    /// The sums of these counts, the most frequent kinds first.
    pub fn sums<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        let mut sums: BTreeMap<Kind, u64> = BTreeMap::new();
        for counted in counts {
            *sums.entry(Kind::of(counted)).or_default() += counted.count;
        }
        let mut sums: Vec<Self> = sums.into_iter().map(|(kind, count)| kind.counted(count)).collect();
        sums.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        sums
    }
}

/// A kind of failure.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    channel: Channel,
    carrier: String,
    country: String,
    what: String,
    code: String,
}

impl Kind {
    fn in_cell(cell: &Cell, what: String, code: String) -> Self {
        let (carrier, country) = (cell.carrier.clone(), cell.country.clone());
        Self { channel: cell.channel, carrier, country, what, code }
    }

    fn of(counted: &FailureCount) -> Self {
        let FailureCount { channel, carrier, country, what, code, .. } = counted.clone();
        Self { channel, carrier, country, what, code }
    }

    fn counted(self, count: u64) -> FailureCount {
        let Self { channel, carrier, country, what, code } = self;
        FailureCount { channel, carrier, country, what, code, count }
    }
}

/// Counts failures.
#[derive(Debug, Default)]
pub struct FailureCounter(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    begin: Timestamp,
    current: BTreeMap<Kind, u64>,
    before: BTreeMap<Kind, u64>,
}

impl Windows {
    fn turn_to(&mut self, now: Timestamp) {
        let begin = interval_start(now, WINDOW);
        if begin > self.begin {
            let is_next = begin == crate::domain::clock::after(self.begin, WINDOW);
            let current = std::mem::take(&mut self.current);
            self.before = if is_next { current } else { BTreeMap::new() };
            self.begin = begin;
        }
    }
}

impl FailureCounter {
    /// Counts a fact, if it is a failure.
    pub fn count(&self, fact: &AttemptFact) {
        if let AttemptEvent::Accepted { was_unknown: true } = fact.event {
            self.take_back_unknown(fact);
            return;
        }
        let Some((what, code)) = fact.event.failure() else { return };
        let is_code =
            |code: &&str| code.len() <= MAX_LENGTH && code.bytes().all(|byte| byte.is_ascii_graphic());
        let [what, code] = [what, code.filter(is_code).unwrap_or_default()].map(str::to_owned);
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn_to(fact.at);
        let kind = Kind::in_cell(&fact.cell, what, code);
        if windows.current.len() < MAX_KINDS || windows.current.contains_key(&kind) {
            *windows.current.entry(kind).or_default() += 1;
        }
    }

    /// A receipt proves that an attempt with an unknown outcome was accepted.
    fn take_back_unknown(&self, fact: &AttemptFact) {
        let kind = Kind::in_cell(&fact.cell, Outcome::Unknown.word().to_owned(), String::new());
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn_to(fact.at);
        let Windows { current, before, .. } = &mut *windows;
        if let Some(counts) = [current, before].into_iter().find(|counts| counts.contains_key(&kind)) {
            counts.entry(kind.clone()).and_modify(|count| *count -= 1);
            counts.retain(|_, count| *count > 0);
        }
    }

    /// The most frequent failures of the last five to ten minutes.
    pub fn recent(&self, now: Timestamp) -> Vec<FailureCount> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn_to(now);
        let counts = windows.before.iter().chain(&windows.current);
        let counts: Vec<FailureCount> = counts.map(|(kind, count)| kind.clone().counted(*count)).collect();
        let mut sums = FailureCount::sums(&counts);
        sums.truncate(MAX_REPORTED);
        sums
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{FailureCounter, MAX_KINDS, MAX_REPORTED};
    use crate::domain::attempt::{AttemptId, Outcome, ReceiptStatus};
    use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
    use crate::domain::channel::Channel;
    use crate::domain::delivery_cell::Cell;

    fn t(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn bad(second: i64, code: &str) -> AttemptFact {
        let event = AttemptEvent::Receipt {
            status: ReceiptStatus::Bad,
            corrects: false,
            code: Some(code.to_owned()),
        };
        let attempt = AttemptId { uid: uuid::Uuid::nil(), n: 1 };
        AttemptFact {
            attempt,
            traceparent: None,
            cell: Cell::other(Channel::Sms),
            admitted_at: t(0),
            begun_at: t(0),
            at: t(second),
            event,
        }
    }

    #[test]
    fn codes_are_counted_for_five_to_ten_minutes() {
        let codes = FailureCounter::default();
        for (second, code) in [(0, "30007"), (1, "30003"), (299, "30007")] {
            codes.count(&bad(second, code));
        }
        let recent =
            |second| codes.recent(t(second)).into_iter().map(|c| (c.code, c.count)).collect::<Vec<_>>();
        let both = [("30007".to_owned(), 2), ("30003".to_owned(), 1)];
        assert_eq!(recent(299), both);
        assert_eq!(recent(599), both);
        assert_eq!(recent(600), []);
    }

    /// Fails if a message whose acceptance is proved later stays a failure.
    #[test]
    fn an_unknown_attempt_that_is_proved_accepted_is_no_failure() {
        let failures = FailureCounter::default();
        let fact = |second, event| AttemptFact { event, ..bad(second, "") };
        let unknown = AttemptEvent::Answered {
            outcome: Outcome::Unknown,
            segments: None,
            is_repeat: false,
            code: None,
        };
        failures.count(&fact(0, unknown.clone()));
        failures.count(&fact(0, unknown));
        failures.count(&fact(310, AttemptEvent::Accepted { was_unknown: true }));
        failures.count(&fact(310, AttemptEvent::Accepted { was_unknown: false }));
        let recent: Vec<_> = failures.recent(t(310)).into_iter().map(|c| (c.what, c.count)).collect();
        assert_eq!(recent, [("unknown".to_owned(), 1)]);
    }

    /// Fails if a carrier's text can fill the memory or the log of whoever reads it.
    #[test]
    fn odd_codes_are_left_out_and_many_are_bounded() {
        let codes = FailureCounter::default();
        codes.count(&bad(0, "\u{1b}[31m"));
        codes.count(&bad(0, &"9".repeat(25)));
        let recent: Vec<_> = codes.recent(t(0)).into_iter().map(|c| (c.what, c.code, c.count)).collect();
        assert_eq!(recent, [("undelivered".to_owned(), String::new(), 2)], "counted without a code");
        for n in 0..2 * MAX_KINDS {
            codes.count(&bad(0, &n.to_string()));
        }
        assert_eq!(codes.0.lock().unwrap().current.len(), MAX_KINDS);
        assert_eq!(codes.recent(t(0)).len(), MAX_REPORTED);
    }
}
