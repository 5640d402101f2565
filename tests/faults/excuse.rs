//! What a fault excuses: only what was under way while something was broken, and only as far as it explains it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use otpost::domain::attempt::{Attempt, Outcome, State};
use otpost::domain::dispatch::Dispatch;
use serde_json::Value;

use crate::load::{Kind, Sent};

/// From the end of a fault until everybody works again: the longest pause between two tries to connect, and a scan.
const RECOVERY: SignedDuration = SignedDuration::from_secs(17);
/// An attempt's deadline, where its carrier has three seconds to answer.
const DEADLINE: Duration = Duration::from_secs(8);
/// Clocks are read in several places.
const BLUR: SignedDuration = SignedDuration::from_millis(500);
/// A carrier goes on trying to report for so long, by the mock's own pauses.
const REPORTING: Duration = Duration::from_secs(15);
/// Before its end, nothing is begun for a code any more.
const LAST_CHANCE: SignedDuration = SignedDuration::from_secs(12);

/// The time in which something was broken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Trouble {
    /// What takes place while this runs.
    pub(crate) async fn during(work: impl Future<Output = ()>) -> Self {
        let from = otpost::domain::clock::now();
        work.await;
        Self { from, to: otpost::domain::clock::now() }
    }

    pub(crate) fn overlaps(self, from: Timestamp, to: Timestamp) -> bool {
        from <= self.to + BLUR && to >= self.from - BLUR
    }

    /// Whether an attempt was under way then, so that its outcome may be unknown.
    pub(crate) fn touches(self, attempt: &Attempt) -> bool {
        let ends = attempt.closed_at.unwrap_or(otpost::domain::clock::after(attempt.begun_at, DEADLINE));
        self.overlaps(attempt.begun_at, ends)
    }

    /// Whether it left a code no time in which it could be sent.
    fn takes_all_time(self, job: &Sent) -> bool {
        job.at <= self.to && self.to + RECOVERY >= job.expires_at - LAST_CHANCE
    }

    /// Whether a job may end as it did, though its script has another end.
    pub(crate) fn explains(self, job: &Sent, d: &Dispatch, accepted: &[&Value]) -> bool {
        // What its carrier leaves without a report has another request that is reported.
        let while_it_reports = |m: &Value| {
            let at = m["at"].as_str().unwrap().parse().unwrap();
            self.overlaps(at, otpost::domain::clock::after(at, REPORTING))
        };
        let unheard = |m: &&&Value| m["outcome"] != "hang_up" && !is_reported(m) && while_it_reports(m);
        let called = d.attempts.iter().any(|a| a.channel.as_str() == "voice" && a.is_accepted());
        match d.state {
            State::Expired => self.takes_all_time(job),
            State::Unconfirmed => {
                // It was under way then, or there was no time for its repeat.
                let nobody_knows = |a: &Attempt| {
                    let unknown = a.outcome == Some(Outcome::Unknown);
                    unknown && (self.touches(a) || self.takes_all_time(job))
                };
                d.attempts.iter().any(nobody_knows) || accepted.iter().any(|m| unheard(&m))
            }
            State::Undelivered => {
                let in_trouble = self.takes_all_time(job) || d.attempts.iter().any(|a| self.touches(a));
                job.kind == Kind::Fallback && !called && in_trouble
            }
            _ => false,
        }
    }
}

/// Whether an end was reported to otpost, and taken.
fn is_reported(message: &Value) -> bool {
    let ends = ["delivered", "undelivered", "failed", "completed", "busy", "no-answer"];
    message["callbacks"].as_array().unwrap().iter().any(|c| {
        c["status"].as_str().is_some_and(|status| ends.contains(&status))
            && matches!(c["http_status"].as_u64(), Some(200..=299))
    })
}
