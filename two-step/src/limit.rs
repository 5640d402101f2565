//! Rate limits: at most a number of events within a time window. No event is ever allowed too early.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::after;

/// Maximum window of a rule.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(31 * 86400);
/// Maximum count of a rule.
pub const MAX_COUNT: u32 = 10_000;

/// At most `count` events within any `window`. Written `N/window`, with s, m, h or d: `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rule {
    /// The maximum number of events.
    pub count: u32,
    /// The window.
    pub window: Duration,
}

/// Why a text is not a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a limit is written N/window, such as 5/10m: N from 1 to 10000, the window in s, m, h or d, at most 31d"
)]
pub struct BadRule;

impl Rule {
    /// Creates a rule with a window in seconds.
    pub const fn per(count: u32, seconds: u64) -> Self {
        Self { count, window: Duration::from_secs(seconds) }
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let (count, window) = text.trim().split_once('/').ok_or(BadRule)?;
        let count: u32 = count.parse().map_err(|_| BadRule)?;
        let window = crate::config::read_duration(window).ok_or(BadRule)?;
        let fits =
            (1..=MAX_COUNT).contains(&count) && window >= Duration::from_secs(1) && window <= LONGEST_WINDOW;
        if fits { Ok(Self { count, window }) } else { Err(BadRule) }
    }
}

impl TryFrom<String> for Rule {
    type Error = BadRule;
    fn try_from(text: String) -> Result<Self, BadRule> {
        text.parse()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.count, self.window.as_secs())
    }
}

/// Number of events that a counter stores one by one. Above it, events that are close together are stored as one entry.
const MAX_SINGLE_TIMES: u32 = 512;

/// The event times of a counter, oldest first. If a rule counts more than 512, times are rounded up to
/// 1/512 of the shortest window. Rounding can delay the next event by that much, and never allows one early.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Times(Vec<At>);

/// The time of one or several events, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum At {
    Once(i64),
    Often(i64, u32),
}

impl At {
    fn time(self) -> i64 {
        match self {
            Self::Once(time) | Self::Often(time, _) => time,
        }
    }

    fn count(self) -> u32 {
        match self {
            Self::Once(_) => 1,
            Self::Often(_, count) => count,
        }
    }
}

impl Times {
    /// Returns when the next event is allowed, or `None` if it is allowed now.
    pub fn free_at(&self, rules: &[Rule], now: Timestamp) -> Option<Timestamp> {
        let ends = rules.iter().filter_map(|rule| {
            let nth_latest = self.nth_latest(rule.count)?;
            Some(after(crate::clock::from_millis(nth_latest), rule.window)).filter(|end| *end > now)
        });
        ends.max()
    }

    fn nth_latest(&self, n: u32) -> Option<i64> {
        let mut seen = 0;
        self.0
            .iter()
            .rev()
            .find(|at| {
                seen += at.count();
                seen >= n
            })
            .map(|at| at.time())
    }

    /// Counts an event. Stored times never decrease, so a clock that is set back allows no extra event.
    pub fn count(&mut self, rules: &[Rule], now: Timestamp) {
        let most = rules.iter().map(|r| r.count).max().unwrap_or(1);
        let shortest = rules.iter().map(|r| r.window.as_millis()).min().unwrap_or(1);
        let step = if most > MAX_SINGLE_TIMES {
            i64::try_from(shortest / u128::from(MAX_SINGLE_TIMES)).unwrap_or(i64::MAX).max(1)
        } else {
            1
        };
        let rounded = (now.as_millisecond() + step - 1).div_euclid(step).saturating_mul(step);
        let newest = self.0.last().copied();
        let time = newest.map_or(rounded, |at| at.time().max(rounded));
        match newest {
            Some(at) if step > 1 && at.time() == time => {
                self.0.pop();
                self.0.push(At::Often(time, at.count() + 1));
            }
            _ => self.0.push(At::Once(time)),
        }
        let mut total: u32 = self.0.iter().map(|at| at.count()).sum();
        let surplus = self.0.iter().take_while(|at| {
            let goes = total - at.count() >= most;
            total -= if goes { at.count() } else { 0 };
            goes
        });
        let surplus = surplus.count();
        self.0.drain(..surplus);
    }
}

/// The limits of section "Limits" in `docs/two-step.md`, with their defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Wrong codes in one challenge; the last of them locks it.
    pub wrong_per_challenge: u32,
    /// Sends in one challenge, calls among them.
    pub sends_per_challenge: u32,
    /// Calls in one challenge.
    pub calls_per_challenge: u32,
    /// Seconds between two sends of a challenge. The last value repeats.
    pub send_gaps_s: Vec<u64>,
    /// Sends of one account.
    pub account_sends: Vec<Rule>,
    /// Sends to one number, over all accounts.
    pub number_sends: Vec<Rule>,
    /// Calls to one number, over all accounts.
    pub number_calls: Vec<Rule>,
    /// Accounts that may have the same number.
    pub accounts_per_number: u32,
    /// New numbers of one account.
    pub account_new_numbers: Vec<Rule>,
    /// New numbers from one client address.
    pub client_new_numbers: Vec<Rule>,
    /// New numbers that differ in their last four digits only.
    pub prefix_new_numbers: Vec<Rule>,
    /// Code entries from one client address (IPv6: from one /64).
    pub client_entries: Vec<Rule>,
    /// Sends from one client address (IPv6: from one /64).
    pub client_sends: Vec<Rule>,
    /// Sends of one product.
    pub product_sends: Vec<Rule>,
    /// Mails to one address.
    pub mails: Vec<Rule>,
    /// New sets of recovery codes of one account. A set costs ten slow hashes.
    pub recovery_sets: Vec<Rule>,
    /// Requests to the apps of one account.
    pub app_requests: Vec<Rule>,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86400;

impl Default for Limits {
    fn default() -> Self {
        Self {
            wrong_per_challenge: 5,
            sends_per_challenge: 5,
            calls_per_challenge: 3,
            send_gaps_s: vec![30, 60, 120, 300],
            account_sends: vec![Rule::per(10, HOUR), Rule::per(20, DAY)],
            number_sends: vec![Rule::per(5, 10 * MINUTE), Rule::per(10, DAY)],
            number_calls: vec![Rule::per(3, HOUR)],
            accounts_per_number: 5,
            account_new_numbers: vec![Rule::per(3, DAY)],
            client_new_numbers: vec![Rule::per(10, DAY)],
            prefix_new_numbers: vec![Rule::per(20, HOUR)],
            client_entries: vec![Rule::per(60, MINUTE)],
            client_sends: vec![Rule::per(30, HOUR)],
            product_sends: vec![Rule::per(10_000, HOUR)],
            mails: vec![Rule::per(5, HOUR)],
            recovery_sets: vec![Rule::per(10, DAY)],
            app_requests: vec![Rule::per(5, HOUR)],
        }
    }
}

impl Limits {
    /// Returns the minimum time between the `n`th send of a challenge, counted from 1, and the next.
    pub fn gap_after(&self, n: u32) -> Duration {
        let place = (n.max(1) as usize - 1).min(self.send_gaps_s.len().saturating_sub(1));
        Duration::from_secs(self.send_gaps_s.get(place).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_rules_are_read_and_others_refused() {
        assert_eq!("5/10m".parse(), Ok(Rule::per(5, 600)));
        for bad in ["5", "0/1m", "5/0s", "5/10", "10001/1h", "x/1m", "5/32d", "-1/1m"] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn gaps_grow_and_the_last_repeats() {
        let limits = Limits::default();
        let gaps: Vec<u64> = (1..=6).map(|n| limits.gap_after(n).as_secs()).collect();
        assert_eq!(gaps, [30, 60, 120, 300, 300, 300]);
    }

    #[test]
    fn a_large_count_needs_little_space_and_exactly_n_pass() {
        let rules = [Rule::per(10_000, 3600)];
        let (mut times, mut now, mut passed) = (Times::default(), 1_000_000i64, vec![]);
        for _ in 0..30_000 {
            let at = crate::clock::from_millis(now);
            if let Some(free) = times.free_at(&rules, at) {
                now = free.as_millisecond();
                continue;
            }
            times.count(&rules, at);
            passed.push(now);
            now += 200;
        }
        let window = |w: &[i64]| w[10_000] - w[0];
        assert!(passed.windows(10_001).all(|w| window(w) >= 3_600_000), "never more than 10,000");
        assert!(
            passed.windows(2).all(|w| w[1] - w[0] < 3_600_000 - 9_999 * 200 + 8_000),
            "late by a step at most"
        );
        let kept = serde_json::to_string(&times).unwrap();
        assert!(kept.len() < 16_000, "{}", kept.len());
    }

    #[test]
    fn times_are_read_as_they_were_written() {
        let rules = [Rule::per(1000, 60)];
        let mut times: Times = serde_json::from_str("[1,2,[3,4]]").unwrap();
        times.count(&rules, crate::clock::from_millis(1_000_001));
        times.count(&rules, crate::clock::from_millis(1_000_002));
        let text = serde_json::to_string(&times).unwrap();
        assert_eq!(serde_json::from_str::<Times>(&text).unwrap(), times);
        assert_eq!(text, "[1,2,[3,4],[1000116,2]]");
    }

    proptest! {
        #[test]
        fn exactly_n_pass_in_any_window(
            steps in prop::collection::vec(0i64..400_000, 1..200), n1 in 1u32..6, w1 in 1u64..600, n2 in 1u32..12, w2 in 1u64..3600,
        ) {
            let rules = [Rule::per(n1, w1), Rule::per(n2, w2)];
            let (mut times, mut passed, mut now) = (Times::default(), Vec::<i64>::new(), 1_000_000i64);
            for step in steps {
                now += step;
                let at = crate::clock::from_millis(now);
                let fits = rules.iter().all(|r| {
                    passed.iter().filter(|t| **t + r.window.as_millis() as i64 > now).count() < r.count as usize
                });
                match times.free_at(&rules, at) {
                    None => { prop_assert!(fits); times.count(&rules, at); passed.push(now); }
                    Some(free) => { prop_assert!(!fits); prop_assert!(free > at); }
                }
            }
        }
    }
}
