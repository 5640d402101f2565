//! Limits: at most so many of something within a time. Exactly N pass.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::clock::after;

/// No limit looks back further.
pub const LONGEST_WINDOW: Duration = Duration::from_secs(31 * 86400);
/// Times that one counter keeps at most: the largest count of a rule.
pub const MAX_COUNT: u32 = 10_000;

/// At most `count` within any `window`. Written `N/window`, with s, m, h or d: `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rule {
    /// How many.
    pub count: u32,
    /// Within which time.
    pub window: Duration,
}

/// Why a text is not a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a limit is written N/window, such as 5/10m: N from 1 to 10000, the window in s, m, h or d, at most 31d"
)]
pub struct BadRule;

impl Rule {
    /// At most `count` within so many seconds.
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

/// The times that a counter remembers, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times(pub Vec<i64>);

impl Times {
    /// When the next one is allowed; none where it is allowed now.
    pub fn free_at(&self, rules: &[Rule], now: Timestamp) -> Option<Timestamp> {
        let ends = rules.iter().filter_map(|rule| {
            let nth_latest = self.0.len().checked_sub(rule.count as usize).and_then(|i| self.0.get(i))?;
            Some(after(crate::clock::from_millis(*nth_latest), rule.window)).filter(|end| *end > now)
        });
        ends.max()
    }

    /// Counts one more. Times never go backwards, so a clock that steps back allows nothing more.
    pub fn count(&mut self, rules: &[Rule], now: Timestamp) {
        let newest = self.0.last().copied().unwrap_or(i64::MIN);
        self.0.push(now.as_millisecond().max(newest));
        let keep = rules.iter().map(|r| r.count as usize).max().unwrap_or(1);
        let surplus = self.0.len().saturating_sub(keep);
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
    /// Seconds from one send of a challenge to the next; the last one repeats.
    pub send_gaps_s: Vec<u64>,
    /// Sends of one account.
    pub account_sends: Vec<Rule>,
    /// Sends to one number, whatever account.
    pub number_sends: Vec<Rule>,
    /// Calls to one number, whatever account.
    pub number_calls: Vec<Rule>,
    /// Accounts that may have one number.
    pub accounts_per_number: u32,
    /// New numbers of one account.
    pub account_new_numbers: Vec<Rule>,
    /// New numbers from one client address.
    pub client_new_numbers: Vec<Rule>,
    /// New numbers that share all but their last four digits.
    pub prefix_new_numbers: Vec<Rule>,
    /// Entries from one client address (IPv6: from one /64).
    pub client_entries: Vec<Rule>,
    /// Sends from one client address (IPv6: from one /64).
    pub client_sends: Vec<Rule>,
    /// Sends of one product.
    pub product_sends: Vec<Rule>,
    /// Mails to one address.
    pub mails: Vec<Rule>,
    /// Sign-in challenges of one account.
    pub account_challenges: Vec<Rule>,
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
            account_challenges: vec![Rule::per(60, HOUR)],
        }
    }
}

impl Limits {
    /// Time from the `n`th send of a challenge, counted from 1, to the next.
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
    fn rules_are_read_and_bad_ones_refused() {
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
