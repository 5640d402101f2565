//! The rate limit of an account, divided among the live workers, and the queue of dispatches that wait for it.
//!
//! Each waiting dispatch gets a time of its own, so that a backlog is sent in order and at the full rate. If all of them returned
//! at the same time, a burst would pass, the rest would wait again, and the account would idle.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota as RequestRate, RateLimiter};

/// Maximum length of the queue. A dispatch that finds it full returns within this time and queues then.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(15);

/// The rate limit of an account.
pub(super) struct RateLimit {
    rate_per_s: u32,
    share: Mutex<Share>,
}

/// A worker's share of the rate limit.
struct Share {
    limiter: DefaultDirectRateLimiter,
    /// The time between two requests.
    interval: Duration,
    /// Time since boot of the last reserved turn of the queue.
    queue_end: Duration,
}

impl Share {
    /// Creates the share. It is less than one request per second if there are more workers than that.
    fn of(rate_per_s: u32, workers: usize, queue_end: Duration) -> Self {
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(rate_per_s / workers).unwrap_or(NonZeroU32::MIN);
        let interval =
            (Duration::from_secs(1).saturating_mul(workers) / rate_per_s.max(1)).max(Duration::from_nanos(1));
        let share = RequestRate::with_period(interval)
            .map_or_else(|| RequestRate::per_second(burst), |quota| quota.allow_burst(burst));
        Self { limiter: RateLimiter::direct(share), interval, queue_end }
    }
}

impl RateLimit {
    pub(super) fn new(rate_per_s: u32) -> Self {
        Self { rate_per_s, share: Mutex::new(Share::of(rate_per_s, 1, Duration::ZERO)) }
    }

    /// Divides the rate limit again. The new share starts used up, so that a change in the number of workers causes no burst.
    pub(super) fn divide(&self, workers: usize) {
        let mut share = self.share();
        *share = Share::of(self.rate_per_s, workers, share.queue_end);
        while share.limiter.check().is_ok() {}
    }

    /// Takes capacity for one request. While others are queued, only a dispatch that has waited passes.
    pub(super) fn try_acquire(&self, has_waited: bool, now: Duration) -> bool {
        let share = self.share();
        (has_waited || share.queue_end <= now) && share.limiter.check().is_ok()
    }

    /// Returns how long a dispatch that queues now must wait.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        let share = self.share();
        (share.queue_end.max(now) + share.interval).saturating_sub(now)
    }

    /// Adds a dispatch to the queue and returns how long it must wait.
    pub(super) fn enqueue(&self, now: Duration) -> Duration {
        let mut share = self.share();
        let turn = share.queue_end.max(now) + share.interval;
        if turn > now + MAX_QUEUE_TIME {
            // The times are spread over the second half, so that these dispatches do not return at the same time.
            let part = f64::from(u16::from_be_bytes(crate::seal::random())) / f64::from(u16::MAX);
            return MAX_QUEUE_TIME.mul_f64(0.5 + part / 2.0);
        }
        share.queue_end = turn;
        turn.saturating_sub(now)
    }

    /// Waits for capacity and takes it.
    pub(super) async fn ready(&self) {
        while !self.try_acquire(true, crate::domain::clock::boot()) {
            let interval = self.share().interval;
            tokio::time::sleep(interval.max(Duration::from_millis(1))).await;
        }
    }

    /// Requests per second: those of the account, and those of this process.
    pub(super) fn rates(&self) -> (f64, f64) {
        (f64::from(self.rate_per_s), 1.0 / self.share().interval.as_secs_f64())
    }

    fn share(&self) -> MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{MAX_QUEUE_TIME, RateLimit, Share};

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn more_workers_than_requests_per_second_share_the_limit() {
        let limit = RateLimit::new(1);
        limit.divide(4);
        assert!(!limit.try_acquire(false, NOW), "a new share starts used up");
        assert_eq!(limit.enqueue(NOW), Duration::from_secs(4), "one request in four seconds");
    }

    #[test]
    fn a_queued_dispatch_gets_its_own_time_and_is_not_overtaken() {
        let limit = RateLimit::new(10);
        for _ in 0..9 {
            assert!(limit.try_acquire(false, NOW));
        }
        let turns: Vec<u128> = (0..3).map(|_| limit.enqueue(NOW).as_millis()).collect();
        assert_eq!(turns, [100, 200, 300]);
        assert_eq!(limit.wait(NOW).as_millis(), 400);
        assert!(!limit.try_acquire(false, NOW), "the capacity belongs to the queued dispatches");
        assert!(limit.try_acquire(true, NOW), "a dispatch that has waited passes");
    }

    #[test]
    fn the_queue_is_never_longer_than_fifteen_seconds() {
        let limit = RateLimit::new(1);
        let turns: Vec<Duration> = (0..100).map(|_| limit.enqueue(NOW)).collect();
        assert!((0..15).all(|i| turns[i] == Duration::from_secs(i as u64 + 1)), "{turns:?}");
        assert!(turns[15..].iter().all(|turn| *turn < MAX_QUEUE_TIME), "{turns:?}");
        assert!(turns[20..].iter().all(|turn| *turn >= MAX_QUEUE_TIME / 2));
        assert!(turns[20..].windows(2).any(|two| two[0] != two[1]), "they do not return at the same time");
        assert_eq!(limit.wait(NOW + MAX_QUEUE_TIME), Duration::from_secs(1), "an ended queue adds no wait");
    }

    #[test]
    fn a_share_has_its_part_of_the_burst() {
        let share = Share::of(10, 4, Duration::ZERO);
        let passed = (0..50).filter(|_| share.limiter.check().is_ok()).count();
        assert_eq!((passed, share.interval), (2, Duration::from_millis(400)));
    }

    #[tokio::test]
    async fn ready_waits_for_capacity_and_takes_it() {
        let limit = RateLimit::new(20);
        let started = Instant::now();
        for _ in 0..20 {
            assert!(limit.try_acquire(true, NOW));
        }
        limit.ready().await;
        assert!(
            started.elapsed() >= Duration::from_millis(50),
            "the 21st request of a second came too early"
        );
    }
}
