//! Flood control at the HTTP door, far looser than the quota; and the memory of refusals that spares the ledger's lock.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::LimitsConfig;
use crate::quota::Rule;

/// Keys that are told apart at most. Above, new ones are turned away until old ones are forgotten.
const MOST: usize = 100_000;
/// How long a refusal of the ledger's is remembered at most.
const REMEMBERED: Duration = Duration::from_secs(5);

/// The door's own limits.
pub(super) struct Flood {
    rules: [Rule; 2],
    numbers: DefaultKeyedRateLimiter<String>,
    clients: DefaultKeyedRateLimiter<String>,
    /// Until when it is remembered, and when the number has room again.
    refused: Mutex<HashMap<String, (Instant, Instant)>>,
}

impl Flood {
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        Self {
            rules: [limits.door_number, limits.door_client],
            numbers: RateLimiter::keyed(quota(limits.door_number)),
            clients: RateLimiter::keyed(quota(limits.door_client)),
            refused: Mutex::default(),
        }
    }

    pub(super) fn has_limits_of(&self, limits: &LimitsConfig) -> bool {
        self.rules == [limits.door_number, limits.door_client]
    }

    /// Whether one more request of a client may pass.
    pub(super) fn lets_client(&self, key: &str) -> bool {
        lets(&self.clients, key)
    }

    /// Whether one more request for a number may pass.
    pub(super) fn lets_number(&self, key: &str) -> bool {
        lets(&self.numbers, key)
    }

    /// The ledger refused a number until then.
    pub(super) fn remember(&self, number: &str, retry_after_s: u64) {
        let wait = Duration::from_secs(retry_after_s);
        let (until, free) = (Instant::now() + wait.min(REMEMBERED), Instant::now() + wait);
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < MOST {
            refused.insert(number.to_owned(), (until, free));
        }
    }

    /// Seconds until a number has room again, if the ledger refused it a moment ago.
    pub(super) fn refused(&self, number: &str) -> Option<u64> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match refused.get(number) {
            Some((until, free)) if *until > Instant::now() => {
                Some(free.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000).max(1) as u64)
            }
            Some(_) => {
                refused.remove(number);
                None
            }
            None => None,
        }
    }

    /// Forgets what the ledger refused: its rules have changed.
    pub(super) fn forget_refusals(&self) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Forgets what is over; called on a timer, because keys are never evicted by themselves.
    pub(super) fn sweep(&self) {
        self.numbers.retain_recent();
        self.clients.retain_recent();
        let now = Instant::now();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (until, _)| *until > now);
    }
}

fn lets(limiter: &DefaultKeyedRateLimiter<String>, key: &str) -> bool {
    if limiter.len() >= MOST {
        limiter.retain_recent();
    }
    limiter.len() < MOST && limiter.check_key(&key.to_owned()).is_ok()
}

/// A burst of the rule's count, refilled evenly over its window.
fn quota(rule: Rule) -> Quota {
    let count = NonZeroU32::new(rule.count).unwrap_or(NonZeroU32::MIN);
    let every = rule.window / rule.count.max(1);
    Quota::with_period(every).map_or_else(|| Quota::per_second(count), |q| q.allow_burst(count))
}
