//! Quota rules: how many dispatches to one number are admitted within a window. `5/10m` admits at most five within any ten minutes.
//!
//! `ledger/decide` uses these functions for both databases.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock::{after, between, whole_seconds};

/// The longest window of a rule: 31 days. Older admission times have no effect and may be deleted.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(31 * 86400);

/// A quota rule: at most `count` admissions within any `window`. It is written `N/window` with the unit s, m, h or d, such as
/// `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    /// Maximum number of admissions, 1 to 1000.
    pub count: u32,
    /// Length of the sliding window, 1 s to 31 d.
    pub window: Duration,
}

/// The error of a text that is not a quota rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a quota is written N/window, such as 5/10m: N from 1 to 1000, the window in s, m, h or d, at most 31d"
)]
pub struct BadRule;

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (count, window) = text.trim().split_once('/').ok_or(BadRule)?;
        let unit = window.chars().last().ok_or(BadRule)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return Err(BadRule),
        };
        let count: u32 = count.parse().map_err(|_| BadRule)?;
        // A missing number counts as 1: "1/m" means one per minute.
        let number = &window[..window.len() - 1];
        let number: u64 = if number.is_empty() { 1 } else { number.parse().map_err(|_| BadRule)? };
        let window = number.checked_mul(seconds).ok_or(BadRule)?;
        let fits = (1..=1000).contains(&count) && (1..=LONGEST_WINDOW.as_secs()).contains(&window);
        if fits { Ok(Self { count, window: Duration::from_secs(window) }) } else { Err(BadRule) }
    }
}

impl TryFrom<String> for Rule {
    type Error = BadRule;
    fn try_from(text: String) -> Result<Self, BadRule> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.window.as_secs();
        let (n, unit) = match s {
            s if s % 86400 == 0 => (s / 86400, 'd'),
            s if s % 3600 == 0 => (s / 3600, 'h'),
            s if s % 60 == 0 => (s / 60, 'm'),
            s => (s, 's'),
        };
        write!(f, "{}/{n}{unit}", self.count)
    }
}

/// Returns how many admission times of a key must be kept: the greatest `count` of its rules, at least 1.
pub fn keep(rules: &[Rule]) -> usize {
    rules.iter().map(|r| r.count as usize).max().unwrap_or(0).max(1)
}

/// Takes one quota use and returns its time. `uses` holds the kept admission times, oldest first.
///
/// A use is admitted if, for every rule, the N-th latest time lies outside the window. The new time is distinct and never before
/// the newest, even when the clock steps back.
///
/// # Errors
///
/// Returns the time at which the next use becomes possible.
pub fn take(uses: &mut Vec<Timestamp>, rules: &[Rule], now: Timestamp) -> Result<Timestamp, Timestamp> {
    if let Some(until) = free_at(uses, rules, now) {
        return Err(until);
    }
    let tick = Duration::from_micros(1);
    let at = uses.last().map_or(now, |newest| now.max(after(*newest, tick)));
    uses.push(at);
    uses.drain(..uses.len().saturating_sub(keep(rules)));
    Ok(at)
}

/// Returns when the next admission becomes possible, or `None` if it is possible now.
pub fn free_at(uses: &[Timestamp], rules: &[Rule], now: Timestamp) -> Option<Timestamp> {
    let ends = rules.iter().filter_map(|rule| {
        let nth_latest = uses.len().checked_sub(rule.count as usize).and_then(|i| uses.get(i))?;
        Some(after(*nth_latest, rule.window)).filter(|end| *end > now)
    });
    ends.max()
}

/// Returns the seconds from `now` until `until`, rounded up and at least 1: the value of `Retry-After`.
pub fn retry_after_s(now: Timestamp, until: Timestamp) -> u64 {
    whole_seconds(between(now, until))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::{Rule, keep, retry_after_s, take};

    fn t(s: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + s).unwrap()
    }

    #[test]
    fn rules_read_and_print_the_same() {
        for text in ["5/10m", "10/1d", "1/30s", "3/1h"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("1/m".parse::<Rule>().unwrap().to_string(), "1/1m");
        assert!("5/31d".parse::<Rule>().is_ok() && "5/32d".parse::<Rule>().is_err());
        let json = serde_json::to_string(&"5/10m".parse::<Rule>().unwrap()).unwrap();
        assert_eq!(json, "\"5/10m\"");
        for bad in ["5", "0/1m", "5/0s", "5/10", "5/10w", "x/1m", "5/40d", "-1/1m", "5/ 1m"] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_sixth_of_five_waits_until_the_first_leaves_the_window() {
        let rules = ["5/10m".parse().unwrap()];
        let mut uses = vec![];
        for s in 0..5 {
            assert!(take(&mut uses, &rules, t(s)).is_ok());
        }
        let until = take(&mut uses, &rules, t(5)).unwrap_err();
        assert_eq!(retry_after_s(t(5), until), 595);
        let micro = Duration::from_micros(1);
        assert_eq!(retry_after_s(t(5) - micro, until), 596, "a microsecond more is a second more");
        assert_eq!(retry_after_s(t(5) + micro, until), 595);
        assert!(take(&mut uses, &rules, t(600)).is_ok());
    }

    #[test]
    fn a_clock_that_steps_back_admits_nothing_more() {
        let rules = ["2/10m".parse().unwrap()];
        let mut uses = vec![];
        assert!(take(&mut uses, &rules, t(3600)).is_ok());
        assert!(take(&mut uses, &rules, t(0)).is_ok());
        assert!(take(&mut uses, &rules, t(0)).is_err());
        assert!(take(&mut uses, &rules, t(1200)).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_n_within_any_window(
            steps in prop::collection::vec(0u64..400_000, 1..200),
            n1 in 1u32..6, w1 in 1u64..600, n2 in 1u32..12, w2 in 1u64..3600,
        ) {
            let rules = [
                Rule { count: n1, window: Duration::from_secs(w1) },
                Rule { count: n2, window: Duration::from_secs(w2) },
            ];
            let (mut uses, mut admitted, mut now) = (vec![], Vec::<Timestamp>::new(), t(0));
            for step in steps {
                now += Duration::from_millis(step);
                let would_fit = rules.iter().all(|r| {
                    admitted.iter().filter(|a| **a + r.window > now).count() < r.count as usize
                });
                match take(&mut uses, &rules, now) {
                    Ok(at) => { prop_assert!(would_fit); admitted.push(at); }
                    Err(until) => { prop_assert!(!would_fit); prop_assert!(until > now); }
                }
                prop_assert!(uses.len() <= keep(&rules));
            }
        }
    }
}
