//! Decides which repeats and final states a fault excuses: only those during the fault, and only if the fault
//! can have caused them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use otpost::domain::attempt::{Attempt, Outcome, State};
use otpost::domain::dispatch::Dispatch;
use serde_json::Value;

use crate::load::{Kind, Sent};

/// Maximum recovery time after a fault: the longest pause between two connection attempts, and a scan.
const RECOVERY_TIME: SignedDuration = SignedDuration::from_secs(17);
/// An attempt's deadline with a carrier time-out of three seconds.
const DEADLINE: Duration = Duration::from_secs(8);
/// Tolerance between clocks.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_millis(500);
/// Maximum time for which the mock carrier retries a callback.
const CALLBACK_RETRY_TIME: Duration = Duration::from_secs(15);
/// No request begins in a code's last seconds.
const TIME_WITHOUT_BEGIN: SignedDuration = SignedDuration::from_secs(12);

/// The period of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FaultPeriod {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl FaultPeriod {
    /// Returns the period in which this future ran.
    pub(crate) async fn during(work: impl Future<Output = ()>) -> Self {
        let from = otpost::domain::clock::now();
        work.await;
        Self { from, to: otpost::domain::clock::now() }
    }

    pub(crate) fn overlaps(self, from: Timestamp, to: Timestamp) -> bool {
        from <= self.to + CLOCK_TOLERANCE && to >= self.from - CLOCK_TOLERANCE
    }

    /// Whether an attempt was open during the fault, so that its outcome may be unknown.
    pub(crate) fn touches(self, attempt: &Attempt) -> bool {
        let ends = attempt.closed_at.unwrap_or(otpost::domain::clock::after(attempt.begun_at, DEADLINE));
        self.overlaps(attempt.begun_at, ends)
    }

    /// Whether the fault left no time to send the code.
    fn leaves_no_time(self, job: &Sent) -> bool {
        job.at <= self.to && self.to + RECOVERY_TIME >= job.expires_at - TIME_WITHOUT_BEGIN
    }

    /// Whether the fault explains a final state that differs from the scripted one.
    pub(crate) fn explains(self, job: &Sent, d: &Dispatch, accepted: &[&Value]) -> bool {
        // A dispatch with two requests needs a receipt only for one of them.
        let while_it_reports = |m: &Value| {
            let at = m["at"].as_str().unwrap().parse().unwrap();
            self.overlaps(at, otpost::domain::clock::after(at, CALLBACK_RETRY_TIME))
        };
        let unreported = |m: &&&Value| m["outcome"] != "hang_up" && !is_reported(m) && while_it_reports(m);
        let called = d.attempts.iter().any(|a| a.channel.as_str() == "voice" && a.is_accepted());
        match d.state {
            State::Expired => self.leaves_no_time(job),
            State::Unconfirmed => {
                // The attempt was open during the fault, or there was no time for its repeat.
                let is_unknown = |a: &Attempt| {
                    let unknown = a.outcome == Some(Outcome::Unknown);
                    unknown && (self.touches(a) || self.leaves_no_time(job))
                };
                d.attempts.iter().any(is_unknown) || accepted.iter().any(|m| unreported(&m))
            }
            State::Undelivered => {
                let affected = self.leaves_no_time(job) || d.attempts.iter().any(|a| self.touches(a));
                job.kind == Kind::Fallback && !called && affected
            }
            _ => false,
        }
    }
}

/// Whether otpost answered 2xx to a final receipt.
fn is_reported(message: &Value) -> bool {
    let ends = ["delivered", "undelivered", "failed", "completed", "busy", "no-answer"];
    message["callbacks"].as_array().unwrap().iter().any(|c| {
        c["status"].as_str().is_some_and(|status| ends.contains(&status))
            && matches!(c["http_status"].as_u64(), Some(200..=299))
    })
}
