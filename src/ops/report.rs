//! What a process reports of itself to the other processes of its deployment, through the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::failure_codes::FailureCode;
use super::verdict::{OwnProblem, Part};

/// Interval of the reports.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// A process that has not reported for this time is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(20);
/// A clock that differs from the ledger's by more than this, in seconds, is a problem: signatures and logs have the wrong time.
const MAX_CLOCK_ERROR_S: f64 = 2.0;
/// More waiting jobs than this are a problem if they stay.
const MANY_JOBS: u32 = 500;
/// How long a state lasts before it is a problem.
const PROBLEM_AFTER: Duration = Duration::from_secs(15);
/// The same for jobs and dispatches that wait. The lengths of queues are read every 15 s, and a burst is no problem.
const JOBS_WAIT_AFTER: Duration = Duration::from_secs(40);

/// The report of a process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The version of otpost.
    pub version: String,
    /// When the process started.
    pub started_at: Timestamp,
    /// Whether the process has stopped in order.
    pub is_stopped: bool,
    /// The name of its machine.
    pub host: String,
    /// Its roles: `api`, `worker`, `receipts`.
    pub roles: Vec<String>,
    /// Requests to carriers in progress.
    pub in_flight: i64,
    /// Seconds by which its clock is ahead of the ledger's.
    pub clock_ahead_s: f64,
    /// Messages in each queue of otpost.
    pub queues: BTreeMap<String, u32>,
    /// Circuit breakers that are open.
    pub breakers: Vec<OpenBreaker>,
    /// The most frequent error codes of recent failures.
    pub failure_codes: Vec<FailureCode>,
    /// Problems of this process or of what it uses.
    pub problems: Vec<OwnProblem>,
}

/// A circuit breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenBreaker {
    /// The configured carrier.
    pub carrier: String,
    /// The channel.
    pub channel: String,
    /// The country, if it is open for one only.
    pub country: Option<String>,
    /// Seconds until the next request is let through as a probe.
    pub probe_in_s: u64,
}

/// What a process sees of its surroundings.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Why RabbitMQ cannot be used. `None` if it can, or if none is configured.
    pub broker_problem: Option<String>,
    /// Jobs in `otpost.dispatch` that no worker holds.
    pub waiting_jobs: u32,
    /// Seconds by which the clock is ahead of the ledger's.
    pub clock_ahead_s: f64,
    /// When the dispatch that has been due longest became due.
    pub oldest_due: Option<Timestamp>,
}

/// Remembers when each state began.
#[derive(Debug, Default)]
pub struct ProblemTracker(BTreeMap<Part, Timestamp>);

impl ProblemTracker {
    /// Returns the problems that have lasted long enough.
    pub fn update(&mut self, seen: &Surroundings, now: Timestamp) -> Vec<OwnProblem> {
        let ago = |at: Timestamp| now.duration_since(at).unsigned_abs();
        let late = seen.oldest_due.filter(|due| ago(*due) > PROBLEM_AFTER);
        let ahead = seen.clock_ahead_s;
        let clock = (ahead.abs() > MAX_CLOCK_ERROR_S).then(|| {
            let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
            format!("a machine is {:.1} s {direction} the ledger", ahead.abs())
        });
        let many = (seen.waiting_jobs > MANY_JOBS)
            .then(|| format!("{} jobs wait in otpost.dispatch", seen.waiting_jobs));
        let late = late.map(|due| (due, format!("due dispatches have waited for {} s", ago(due).as_secs())));
        let states = [
            (Part::Broker, seen.broker_problem.clone().map(|what| (now, what))),
            (Part::Clock, clock.map(|what| (now, what))),
            (Part::Queue, many.map(|what| (now, what)).or(late)),
        ];
        let mut problems = vec![];
        for (part, state) in states {
            let Some((begun, what)) = state else {
                self.0.remove(&part);
                continue;
            };
            let since = *self.0.entry(part).or_insert(begun);
            let after = if part == Part::Queue { JOBS_WAIT_AFTER } else { PROBLEM_AFTER };
            if ago(since) >= after {
                problems.push(OwnProblem { part, since, what });
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{ProblemTracker, Surroundings};
    use crate::ops::verdict::Part;

    fn t(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_state_is_a_problem_when_it_has_lasted_for_15_s() {
        let mut tracker = ProblemTracker::default();
        let away = Surroundings { broker_problem: Some("refused".to_owned()), ..Surroundings::default() };
        assert!(tracker.update(&away, t(0)).is_empty());
        assert!(tracker.update(&away, t(14)).is_empty());
        let problems = tracker.update(&away, t(20));
        assert_eq!((problems[0].part, problems[0].since), (Part::Broker, t(0)));
        assert!(tracker.update(&Surroundings::default(), t(25)).is_empty());
        assert!(tracker.update(&away, t(30)).is_empty(), "it began anew");
    }

    #[test]
    fn waiting_jobs_late_dispatches_and_clocks_are_problems() {
        let of = |seen: Surroundings| {
            let mut tracker = ProblemTracker::default();
            tracker.update(&seen, t(100));
            tracker.update(&seen, t(140)).into_iter().map(|p| (p.part, p.what)).collect::<Vec<_>>()
        };
        let jobs = Surroundings { waiting_jobs: 1000, ..Surroundings::default() };
        assert_eq!(of(jobs), [(Part::Queue, "1000 jobs wait in otpost.dispatch".to_owned())]);
        let due = Surroundings { oldest_due: Some(t(0)), ..Surroundings::default() };
        assert_eq!(of(due), [(Part::Queue, "due dispatches have waited for 140 s".to_owned())]);
        let behind = Surroundings { clock_ahead_s: -7.25, ..Surroundings::default() };
        assert_eq!(of(behind), [(Part::Clock, "a machine is 7.2 s behind the ledger".to_owned())]);
        assert_eq!(of(Surroundings { waiting_jobs: 500, ..Surroundings::default() }), []);
    }
}
