//! What a process reports of itself to the other processes of its deployment, through the ledger.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::failures::FailureCount;
use super::metrics::{OLD_JOB, SLOW_TRANSACTION};
use super::verdict::{OwnProblem, Part, Tally};

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
    /// Where it serves this status and `/readyz`, such as `127.0.0.1:9102`. Empty if a former version reports.
    pub ops: String,
    /// Its roles: `api`, `worker`, `receipts`.
    pub roles: Vec<String>,
    /// Requests to carriers in progress.
    pub in_flight: i64,
    /// Seconds by which its clock is ahead of the ledger's.
    pub clock_ahead_s: f64,
    /// Messages in each queue of otpost.
    pub queues: BTreeMap<String, u32>,
    /// When the dispatch that has been due longest became due.
    pub oldest_due: Option<Timestamp>,
    /// Circuit breakers that are open.
    pub breakers: Vec<OpenBreaker>,
    /// The most frequent failures of the last five to ten minutes.
    pub failures: Vec<FailureCount>,
    /// Problems of this process, or of servers that it uses. Problems that this version does not know are left out.
    #[serde(deserialize_with = "known_problems")]
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
    /// What all carriers are paused for by operators, such as `sms to ID`.
    pub paused: Vec<String>,
    /// Seconds by which the clock is ahead of the ledger's.
    pub clock_ahead_s: f64,
    /// When the dispatch that has been due longest became due.
    pub oldest_due: Option<Timestamp>,
    /// Transactions since the last report, and how many of them were slow.
    pub transactions: Tally,
    /// Jobs of known age since the last report, and how many of them were old.
    pub jobs: Tally,
}

fn known_problems<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnProblem>, D::Error> {
    let problems = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(problems.into_iter().filter_map(|problem| serde_json::from_value(problem).ok()).collect())
}

/// Whether at least one in ten failed.
fn many(Tally { all, failed }: Tally) -> bool {
    failed > 0 && failed * 10 >= all
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
        let waiting = (seen.waiting_jobs > MANY_JOBS)
            .then(|| format!("{} jobs wait in otpost.dispatch", seen.waiting_jobs));
        let late = late.map(|due| (due, format!("due dispatches have waited for {} s", ago(due).as_secs())));
        let old = many(seen.jobs).then(|| {
            let Tally { all, failed } = seen.jobs;
            format!("{failed} of {all} jobs were older than {} s when a worker got them", OLD_JOB.as_secs())
        });
        let slow = many(seen.transactions).then(|| {
            let Tally { all, failed } = seen.transactions;
            format!("{failed} of {all} transactions took more than {} ms", SLOW_TRANSACTION.as_millis())
        });
        let paused = (!seen.paused.is_empty())
            .then(|| format!("operators have paused all of them for {}", seen.paused.join(" and for ")));
        let begins_now = |what: Option<String>| what.map(|what| (now, what));
        let states = [
            (Part::SlowLedger, begins_now(slow)),
            (Part::Broker, begins_now(seen.broker_problem.clone())),
            (Part::Carriers, begins_now(paused)),
            (Part::Clock, begins_now(clock)),
            (Part::Queue, begins_now(waiting).or(late).or(begins_now(old))),
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

    use super::{ProblemTracker, Report, Surroundings};
    use crate::ops::verdict::{Part, Tally};

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
        let paused = ["sms", "voice to ID"].map(str::to_owned).to_vec();
        let what = "operators have paused all of them for sms and for voice to ID".to_owned();
        assert_eq!(of(Surroundings { paused, ..Surroundings::default() }), [(Part::Carriers, what)]);
        let old = Surroundings { jobs: Tally { all: 20, failed: 2 }, ..Surroundings::default() };
        let what = "2 of 20 jobs were older than 30 s when a worker got them";
        assert_eq!(of(old), [(Part::Queue, what.to_owned())]);
        let slow = Surroundings { transactions: Tally { all: 9, failed: 1 }, ..Surroundings::default() };
        assert_eq!(of(slow), [(Part::SlowLedger, "1 of 9 transactions took more than 500 ms".to_owned())]);
        for tally in [Tally { all: 21, failed: 2 }, Tally::default()] {
            let few = Surroundings {
                waiting_jobs: 500,
                jobs: tally,
                transactions: tally,
                ..Surroundings::default()
            };
            assert_eq!(of(few), []);
        }
    }

    /// Fails if a process of a newer version, with a problem that this one does not know, counts as gone.
    #[test]
    fn an_unknown_problem_is_left_out() {
        let report = r#"{"version": "9", "problems": [
            {"part": "mailbox", "since": "2026-05-04T14:05:00Z", "what": "full"},
            {"part": "broker", "since": "2026-05-04T14:05:00Z", "what": "refused"}]}"#;
        let report: Report = serde_json::from_str(report).unwrap();
        assert_eq!((report.version.as_str(), report.problems.len()), ("9", 1));
        assert_eq!(report.problems[0].part, Part::Broker);
    }
}
