//! Acts of operators on a dispatch.

use jiff::Timestamp;

use crate::domain::clock::after;
use crate::domain::decide::LEASE;
use crate::domain::dispatch::Dispatch;
use crate::ledger::items::RetryResult;

/// Makes a dispatch due that waits because no carrier had room. A back-off, and a wait that a carrier asked for, stay: the worker that
/// takes the dispatch computes them from its attempts.
pub fn retry(d: Option<&mut Dispatch>, now: Timestamp) -> RetryResult {
    let Some(d) = d else { return RetryResult::Unknown };
    if d.state.is_final() {
        return RetryResult::Final { state: d.state };
    }
    if let Some(stop) = d.stop {
        return RetryResult::Stopped { stop };
    }
    let waits_for_carrier = d.open_attempt().is_some()
        || d.attempts.iter().any(|a| a.step == d.step && a.is_accepted() && !a.is_bad());
    if waits_for_carrier {
        return RetryResult::UnderWay { state: d.state };
    }
    d.snoozed_until = None;
    d.version += 1;
    d.wake_at = Some(now);
    RetryResult::Due { state: d.state }
}

/// Returns whether a dispatch can be deleted now: it is final or stopped, it has no open attempt, and no worker has it for a lease. The
/// worker would take a missing row for a lost commit.
pub fn is_erasable(d: &Dispatch, now: Timestamp) -> bool {
    let is_leased = d.wake_at.is_some_and(|at| at <= after(now, LEASE));
    (d.state.is_final() || d.stop.is_some()) && d.open_attempt().is_none() && !is_leased
}
