//! Flood control of the HTTP API, far above the quotas. It also caches refusals, which avoids quota locks in the ledger.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota as RequestRate, RateLimiter};
use moka::Expiry;
use moka::sync::Cache;

use crate::config::LimitsConfig;
use crate::domain::clock::whole_seconds;
use crate::domain::quota::Rule;

/// Maximum number of tracked keys. When the map is full, every request passes uncounted. The ledger's quotas still apply.
const MAX_TRACKED_KEYS: usize = 100_000;
/// Minimum time between two sweeps of a full map, because a sweep visits every key.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time that a refusal of the ledger is cached.
const REFUSAL_CACHE_TIME: Duration = Duration::from_secs(5);

/// The rate limits of the HTTP API.
pub(super) struct Flood {
    rules: [Rule; 2],
    numbers: Keyed,
    clients: Keyed,
    /// By number key: the time at which the quota admits again.
    refused: Cache<String, Instant>,
}

/// Keeps a refusal until the quota has room, and at most for [`REFUSAL_CACHE_TIME`].
struct RefusalExpiry;

impl Expiry<String, Instant> for RefusalExpiry {
    fn expire_after_create(&self, _: &String, free: &Instant, now: Instant) -> Option<Duration> {
        Some(free.saturating_duration_since(now).min(REFUSAL_CACHE_TIME))
    }

    fn expire_after_update(
        &self, number: &String, free: &Instant, now: Instant, _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(number, free, now)
    }
}

impl Flood {
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        Self {
            rules: [limits.door_number, limits.door_client],
            numbers: Keyed::new(limits.door_number),
            clients: Keyed::new(limits.door_client),
            refused: Cache::builder()
                .max_capacity(MAX_TRACKED_KEYS as u64)
                .expire_after(RefusalExpiry)
                .build(),
        }
    }

    pub(super) fn has_limits_of(&self, limits: &LimitsConfig) -> bool {
        self.rules == [limits.door_number, limits.door_client]
    }

    /// Counts a request of this client. If the rate limit refuses it, returns the seconds until it admits the next one.
    pub(super) fn count_client(&self, key: &str) -> Result<(), u64> {
        self.clients.count(key)
    }

    /// The same for a request for this number.
    pub(super) fn count_number(&self, key: &str) -> Result<(), u64> {
        self.numbers.count(key)
    }

    /// Caches that the ledger refused a number.
    pub(super) fn remember(&self, number: &str, retry_after_s: u64) {
        self.refused.insert(number.to_owned(), Instant::now() + Duration::from_secs(retry_after_s));
    }

    /// Seconds until a number's quota has room, when a refusal is cached.
    pub(super) fn refused(&self, number: &str) -> Option<u64> {
        let free = self.refused.get(number)?;
        Some(whole_seconds(free.saturating_duration_since(Instant::now())))
    }

    /// The number of entries of each map.
    pub(super) fn sizes(&self) -> [(&'static str, usize); 3] {
        let refusals = usize::try_from(self.refused.entry_count()).unwrap_or(usize::MAX);
        [
            ("flood_numbers", self.numbers.limiter.len()),
            ("flood_clients", self.clients.limiter.len()),
            ("flood_refusals", refusals),
        ]
    }

    /// Clears the cached refusals, because the rules have changed.
    pub(super) fn forget_refusals(&self) {
        self.refused.invalidate_all();
    }

    /// Removes keys whose limits are full again. Called periodically, because nothing else removes them.
    pub(super) fn sweep(&self) {
        self.numbers.limiter.retain_recent();
        self.clients.limiter.retain_recent();
    }
}

/// A rate limit per key.
struct Keyed {
    limiter: DefaultKeyedRateLimiter<String>,
    swept: Mutex<Option<Instant>>,
}

impl Keyed {
    fn new(rule: Rule) -> Self {
        Self { limiter: RateLimiter::keyed(quota(rule)), swept: Mutex::default() }
    }

    fn count(&self, key: &str) -> Result<(), u64> {
        if self.limiter.len() >= MAX_TRACKED_KEYS {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL) {
                self.limiter.retain_recent();
                *swept = Some(Instant::now());
            }
        }
        if self.limiter.len() >= MAX_TRACKED_KEYS {
            return Ok(());
        }
        let refused = self.limiter.check_key(&key.to_owned());
        refused.map_err(|until| whole_seconds(until.wait_time_from(self.limiter.clock().now())))
    }
}

/// A burst of the rule's count, refilled evenly over its window.
fn quota(rule: Rule) -> RequestRate {
    let count = NonZeroU32::new(rule.count).unwrap_or(NonZeroU32::MIN);
    let every = rule.window / rule.count.max(1);
    RequestRate::with_period(every).map_or_else(|| RequestRate::per_second(count), |q| q.allow_burst(count))
}

#[cfg(test)]
mod tests {
    use super::{Flood, MAX_TRACKED_KEYS};
    use crate::config::LimitsConfig;

    /// Fails when a full map keeps counting.
    #[test]
    fn more_numbers_than_fit_turn_nobody_away() {
        let slow = "2/1d".parse().unwrap();
        let flood =
            Flood::new(&LimitsConfig { door_number: slow, door_client: slow, ..LimitsConfig::default() });
        assert!([1, 2].iter().all(|_| flood.count_number("old").is_ok()));
        let wait = flood.count_number("old").unwrap_err();
        assert!((43_199..=43_200).contains(&wait), "half a day: {wait}");
        flood.remember("old", 3600);
        for n in 0..2 * MAX_TRACKED_KEYS {
            let number = format!("number {n}");
            assert!(flood.count_number(&number).is_ok() && flood.count_client(&number).is_ok(), "{number}");
            flood.remember(&number, 3600);
        }
        assert_eq!(
            (flood.numbers.limiter.len(), flood.clients.limiter.len()),
            (MAX_TRACKED_KEYS, MAX_TRACKED_KEYS)
        );
        flood.refused.run_pending_tasks();
        assert!(flood.refused.entry_count() <= MAX_TRACKED_KEYS as u64, "{}", flood.refused.entry_count());
        assert!(flood.count_number("old").is_ok(), "the map is full: requests are not counted");
    }

    /// Fails when a refusal outlives the quota's wait, or is not cached.
    #[test]
    fn a_refusal_is_cached_until_the_quota_has_room() {
        let flood = Flood::new(&LimitsConfig::default());
        flood.remember("room now", 0);
        flood.remember("room in an hour", 3600);
        assert_eq!(flood.refused("room now"), None);
        assert_eq!(flood.refused("room in an hour"), Some(3600));
        flood.forget_refusals();
        assert_eq!(flood.refused("room in an hour"), None);
    }
}
