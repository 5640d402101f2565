//! A circuit breaker. It opens after repeated failures and, after a pause, lets one request through as a probe.

use std::time::Duration;

/// Consecutive failures after which the breaker opens.
const MAX_CONSECUTIVE_FAILURES: u32 = 8;
/// The first pause. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Upper bound of the pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Why a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
    /// Requests fail.
    Failing,
    /// The carrier refuses the account or the sender. It would refuse another request too.
    Refused,
}

/// A circuit breaker. All times count from boot.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    opened: u32,
    until: Option<Duration>,
    is_refused: bool,
    /// Whether the probe request is under way.
    probing: bool,
}

impl Breaker {
    /// Returns whether a request may pass now. After the pause one request passes as the probe, and the pause starts again for the
    /// others.
    pub(super) fn try_pass(&mut self, now: Duration) -> bool {
        match self.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.until = Some(now + self.pause());
                self.probing = true;
                true
            }
        }
    }

    /// Counts a failure. Returns whether the breaker opened that was closed before.
    pub(super) fn fail(&mut self, now: Duration) -> bool {
        if self.until.is_some_and(|until| now < until) {
            // Failures of requests that were under way when the breaker opened do not count.
            if !std::mem::take(&mut self.probing) {
                return false;
            }
        }
        self.failures += 1;
        self.failures >= MAX_CONSECUTIVE_FAILURES && self.open(now)
    }

    /// Returns whether the breaker is open. Unlike `try_pass`, it does not use up the probe.
    pub(super) fn is_open(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Returns why the breaker is open. `None` if it is closed.
    pub(super) fn broken(&self, now: Duration) -> Option<Broken> {
        self.is_open(now).then_some(if self.is_refused { Broken::Refused } else { Broken::Failing })
    }

    /// The time until the next request passes as a probe: zero if it may pass now. `None` unless the breaker has opened and no request has
    /// succeeded since.
    pub(super) fn probe_in(&self, now: Duration) -> Option<Duration> {
        self.until.map(|until| until.saturating_sub(now))
    }

    /// Ends the pause of an open breaker, so that the next request passes as the probe.
    pub(super) fn end_pause(&mut self, now: Duration) {
        self.until = self.until.map(|until| until.min(now));
    }

    /// Opens the breaker after a refusal of the account or the sender. Returns whether it was closed.
    pub(super) fn refuse(&mut self, now: Duration) -> bool {
        let was_closed = self.open(now);
        self.is_refused = true;
        was_closed
    }

    /// Opens the breaker. Returns whether it was closed: nothing has failed since the last success.
    fn open(&mut self, now: Duration) -> bool {
        self.opened += 1;
        self.probing = false;
        self.is_refused = false;
        self.until = Some(now + self.pause());
        self.opened == 1
    }

    /// Closes the breaker. Returns whether it had opened.
    pub(super) fn succeed(&mut self) -> bool {
        std::mem::take(self).until.is_some()
    }

    fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.opened.saturating_sub(1).min(4)).min(MAX_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Breaker, Broken, MAX_CONSECUTIVE_FAILURES};

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_with_one_request() {
        let mut b = Breaker::default();
        let s = Duration::from_secs;
        for _ in 1..MAX_CONSECUTIVE_FAILURES {
            b.fail(s(0));
            assert!(b.try_pass(s(0)));
        }
        b.succeed();
        for _ in 0..MAX_CONSECUTIVE_FAILURES {
            assert!(b.try_pass(s(0)), "a success resets the count");
            b.fail(s(0));
        }
        assert!(!b.try_pass(s(4)));
        for _ in 0..50 {
            b.fail(s(1));
        }
        assert!(b.try_pass(s(5)), "one probe passes after the pause");
        assert!(!b.try_pass(s(5)), "other requests wait for the probe's result");
        b.succeed();
        assert!(b.try_pass(s(5)));
    }
    #[test]
    fn each_pause_is_twice_as_long_up_to_a_minute() {
        let mut b = Breaker::default();
        let (s, moment) = (Duration::from_secs, Duration::from_millis(1));
        let mut now = s(100);
        for _ in 0..MAX_CONSECUTIVE_FAILURES {
            b.fail(now);
        }
        for pause in [5, 10, 20, 40, 60, 60] {
            let (end, just_before) = (now + s(pause), now + s(pause).saturating_sub(moment));
            assert!(b.is_open(just_before) && !b.try_pass(just_before), "{pause} s");
            assert!(!b.is_open(end) && b.try_pass(end), "{pause} s");
            b.fail(end);
            now = end;
        }
    }

    #[test]
    fn a_refusal_and_failures_are_different_causes() {
        let mut b = Breaker::default();
        let s = Duration::from_secs;
        assert!(b.refuse(s(0)));
        assert_eq!((b.broken(s(4)), b.broken(s(5))), (Some(Broken::Refused), None));
        assert!(b.try_pass(s(5)));
        for _ in 0..MAX_CONSECUTIVE_FAILURES {
            b.fail(s(700));
        }
        assert_eq!(b.broken(s(700)), Some(Broken::Failing), "the probe was not refused");
        b.succeed();
        assert_eq!(b.broken(s(700)), None);
    }

    #[test]
    fn a_late_failure_extends_the_pause_once_only_after_its_end() {
        let mut b = Breaker::default();
        let s = Duration::from_secs;
        for _ in 0..MAX_CONSECUTIVE_FAILURES {
            b.fail(s(0));
        }
        b.fail(s(4));
        assert!(!b.is_open(s(5)), "a failure during the pause does not count");
        b.fail(s(5));
        assert!(b.is_open(s(14)) && !b.is_open(s(15)), "a failure at the end of the pause opens it again");
        // The probe fails after its own pause has ended. Failures of other requests do not count as the probe's.
        assert!(b.try_pass(s(15)));
        b.fail(s(40));
        b.fail(s(41));
        assert!(!b.is_open(s(60)), "20 s from second 40");
    }
}
