//! The carriers' error codes of recent failures, so that a sentence can name the code that most of them have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::attempt_fact::AttemptFact;
use crate::domain::channel::Channel;
use crate::domain::delivery_count::interval_start;

/// Codes are counted in windows of this width. The current one and the one before count.
const WINDOW: Duration = Duration::from_secs(300);
/// Maximum number of counts in a window.
const MAX_CODES: usize = 500;
/// Maximum number of counts in a report.
const MAX_REPORTED: usize = 40;
/// A longer code is not one.
const MAX_LENGTH: usize = 24;

/// How often a code came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCode {
    /// The channel.
    pub channel: Channel,
    /// The configured carrier.
    pub carrier: String,
    /// The country of the numbers.
    pub country: String,
    /// The carrier's code.
    pub code: String,
    /// How often.
    pub count: u64,
}

/// Counts the codes of failures.
#[derive(Debug, Default)]
pub struct FailureCodes(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    begin: Timestamp,
    current: HashMap<(Channel, String, String, String), u64>,
    before: HashMap<(Channel, String, String, String), u64>,
}

impl Windows {
    fn turn_to(&mut self, now: Timestamp) {
        let begin = interval_start(now, WINDOW);
        if begin > self.begin {
            let is_next = begin == crate::domain::clock::after(self.begin, WINDOW);
            let current = std::mem::take(&mut self.current);
            self.before = if is_next { current } else { HashMap::new() };
            self.begin = begin;
        }
    }
}

impl FailureCodes {
    /// Counts the code of a failure, if the fact is one and has a code.
    pub fn count(&self, fact: &AttemptFact) {
        let Some(code) = fact.event.failure_code() else { return };
        if code.len() > MAX_LENGTH || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
            return;
        }
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn_to(fact.at);
        let cell = &fact.cell;
        let key = (cell.channel, cell.carrier.clone(), cell.country.clone(), code.to_owned());
        if windows.current.len() < MAX_CODES || windows.current.contains_key(&key) {
            *windows.current.entry(key).or_default() += 1;
        }
    }

    /// The most frequent codes of the last five to ten minutes.
    pub fn recent(&self, now: Timestamp) -> Vec<FailureCode> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.turn_to(now);
        let mut sums = windows.before.clone();
        for (key, count) in &windows.current {
            *sums.entry(key.clone()).or_default() += count;
        }
        let code = |((channel, carrier, country, code), count)| FailureCode {
            channel,
            carrier,
            country,
            code,
            count,
        };
        let mut codes: Vec<FailureCode> = sums.into_iter().map(code).collect();
        codes.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.code.cmp(&b.code)));
        codes.truncate(MAX_REPORTED);
        codes
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{FailureCodes, MAX_CODES, MAX_REPORTED};
    use crate::domain::attempt::{AttemptId, ReceiptStatus};
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
        let codes = FailureCodes::default();
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

    /// Fails if a carrier's text can fill the memory or the log of whoever reads it.
    #[test]
    fn odd_codes_are_left_out_and_many_are_bounded() {
        let codes = FailureCodes::default();
        codes.count(&bad(0, "\u{1b}[31m"));
        codes.count(&bad(0, &"9".repeat(25)));
        assert_eq!(codes.recent(t(0)), []);
        for n in 0..2 * MAX_CODES {
            codes.count(&bad(0, &n.to_string()));
        }
        assert_eq!(codes.0.lock().unwrap().current.len(), MAX_CODES);
        assert_eq!(codes.recent(t(0)).len(), MAX_REPORTED);
    }
}
