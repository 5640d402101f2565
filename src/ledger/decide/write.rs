//! Changes of a dispatch: begins, decisions, receipts, and the sender's stop and next requests.

use jiff::Timestamp;

use super::Quotas;
use super::lost_commit::is_behind;
use crate::domain::attempt::{Outcome, State};
use crate::domain::attempt_fact::AttemptFact;
use crate::domain::clock::after;
use crate::domain::decide::{LEASE, QuotaChange};
use crate::domain::dispatch::{Dispatch, Stop};
use crate::ledger::items::{
    AdvanceRequest, AdvanceResult, AttemptOutcome, AttemptReceipt, BeginRequest, BeginResult, DecisionWrite,
    LostCommit, QuotaOwner, RecordResult, Recorded, StopRequest, StopResult, Stopped, WriteResult,
};

/// Begins an attempt, if the row still has the expected version, the code and no open attempt, and the channel's quota has room.
pub fn begin(d: &mut Dispatch, request: &BeginRequest, quotas: &mut Quotas, now: Timestamp) -> BeginResult {
    if d.open_attempt().is_some_and(|open| open.claim == request.attempt.claim) {
        // An earlier run of this begin was committed, and its answer was lost.
        return BeginResult::Begun(Box::new(d.clone()));
    }
    if d.version < request.expected_version {
        return BeginResult::CommitLost(LostCommit::Change);
    }
    if d.version != request.expected_version || d.open_attempt().is_some() || d.code.is_none() {
        return BeginResult::VersionConflict(Box::new(d.clone()));
    }
    if let Some(limit) = &request.channel_limit {
        match quotas.take(&[limit], now) {
            Ok(uses) => {
                d.holds_quota_uses |= !uses.is_empty();
                d.quota_uses.extend(uses);
            }
            Err(retry_after_s) => {
                let full = quotas.full([(QuotaOwner::Channel, limit)].into_iter(), now);
                return BeginResult::ChannelRefused { retry_after_s, full, now };
            }
        }
    }
    if d.step != request.step {
        (d.step, d.step_at, d.snoozes) = (request.step, now, 0);
    }
    d.snoozed_until = None;
    d.version += 1;
    if d.state == State::Queued {
        d.state = State::Sending;
    }
    let attempt = request.attempt.begun(d.attempts.len() as u16 + 1, request.step, now);
    d.wake_at = Some(attempt.deadline);
    d.attempts.push(attempt);
    BeginResult::Begun(Box::new(d.clone()))
}

/// Writes an outcome with its transition, or a transition only, if the row still has the expected version. An outcome is written
/// also on another version, if its attempt is still open; the caller then decides again.
pub fn write_decision(
    d: &mut Dispatch, write: &DecisionWrite, quotas: &mut Quotas, now: Timestamp,
) -> WriteResult {
    let version_changed = d.version != write.seen.version;
    let is_behind = is_behind(d, &write.seen);
    if let Some(outcome) = &write.outcome {
        let attempt = d.attempts.iter_mut().find(|a| a.n == outcome.n && a.claim == outcome.claim);
        let Some(attempt) = attempt else {
            let lost = WriteResult::CommitLost(LostCommit::Change);
            return if is_behind { lost } else { WriteResult::AlreadyClosed { proved_acceptance: false } };
        };
        if attempt.outcome.is_some() {
            return add_late_answer(d, outcome, now);
        }
        attempt.outcome = Some(outcome.judgement.outcome);
        attempt.closed_at = Some(outcome.at);
        attempt.details = outcome.judgement.details.clone();
    }
    if is_behind {
        if write.outcome.is_some() {
            d.version += 1;
            d.wake_at = Some(now);
        }
        return WriteResult::CommitLost(LostCommit::Change);
    }
    match &write.transition {
        Some(transition) if !version_changed => {
            transition.apply(d);
            match transition.quota_change {
                QuotaChange::Keep => {}
                QuotaChange::GiveBack => quotas.give_back(&d.quota_uses),
                QuotaChange::TakeAgain => quotas.take_again(&d.quota_uses),
            }
            WriteResult::Written
        }
        _ if write.outcome.is_some() => {
            d.version += 1;
            d.wake_at = Some(after(now, LEASE));
            WriteResult::OutcomeOnly(Box::new(d.clone()))
        }
        _ => WriteResult::VersionConflict(Box::new(d.clone())),
    }
}

/// Adds an answer to an attempt that is closed already, by another worker or by an earlier run of the same write.
fn add_late_answer(d: &mut Dispatch, outcome: &AttemptOutcome, now: Timestamp) -> WriteResult {
    let closed = d.attempts.iter_mut().find(|a| a.n == outcome.n && a.claim == outcome.claim);
    let Some(a) = closed.filter(|_| outcome.judgement.outcome == Outcome::Accepted) else {
        return WriteResult::AlreadyClosed { proved_acceptance: false };
    };
    let proved_acceptance = a.is_unknown();
    if !proved_acceptance && !a.is_accepted() {
        return WriteResult::AlreadyClosed { proved_acceptance: false };
    }
    a.outcome = Some(Outcome::Accepted);
    let details = outcome.judgement.details.clone();
    a.details.message_id = a.details.message_id.take().or(details.message_id);
    a.details.segments = a.details.segments.or(details.segments);
    a.details.price = a.details.price.take().or(details.price);
    // Details alone raise no version, because they change no decision.
    if proved_acceptance {
        d.version += 1;
        d.wake_at = Some(now);
    }
    WriteResult::AlreadyClosed { proved_acceptance }
}

/// Records a receipt. A dispatch whose attempt it changes is due.
pub fn record(d: Option<&mut Dispatch>, receipt: &AttemptReceipt, now: Timestamp) -> Recorded {
    let Some(d) = d else { return RecordResult::Stray.into() };
    let attempt = d.attempts.iter().position(|a| a.n == receipt.n && a.carrier == receipt.carrier);
    let Some(attempt) = attempt else { return RecordResult::Stray.into() };
    if !d.attempts[attempt].is_changed_by(&receipt.receipt) {
        return RecordResult::NothingNew.into();
    }
    let facts = AttemptFact::of_receipt(d, &d.attempts[attempt], &receipt.receipt, now);
    d.attempts[attempt].apply_receipt(&receipt.receipt, now);
    d.version += 1;
    d.wake_at = Some(now);
    Recorded { result: RecordResult::Recorded, facts }
}

/// Stops a dispatch. The first stop counts.
pub fn stop(d: Option<&mut Dispatch>, request: &StopRequest, now: Timestamp) -> Stopped {
    let Some(d) = d else { return Stopped { result: StopResult::Unknown, verified: None } };
    let is_new = request.stop == Stop::Verified && d.stop.is_none();
    let verified = if is_new { AttemptFact::verified(d, now) } else { None };
    let result = if d.state.is_final() {
        StopResult::Final { state: d.state }
    } else if let Some(stop) = d.stop {
        StopResult::MarkedBefore { state: d.state, stop }
    } else {
        mark(d, request.stop, now);
        StopResult::Marked { uid: d.order.uid, state: d.state }
    };
    Stopped { result, verified }
}

/// Marks a dispatch as stopped. The deadline of an open attempt stays.
pub(super) fn mark(d: &mut Dispatch, stop: Stop, now: Timestamp) {
    d.stop = Some(stop);
    d.version += 1;
    if d.open_attempt().is_none() {
        d.wake_at = Some(now);
    }
}

/// Requests the next step. It begins as soon as no attempt is open, before its fallback time too.
pub fn advance(d: Option<&mut Dispatch>, request: &AdvanceRequest, now: Timestamp) -> AdvanceResult {
    let Some(d) = d else { return AdvanceResult::Unknown };
    // The dispatch has left this step already. The request may be a repeat whose first answer was lost.
    let has_next = |step: u8| usize::from(step) < d.order.plan.len();
    if request.step.is_some_and(|step| step < d.step && has_next(step)) {
        return AdvanceResult::Before { state: d.state };
    }
    if d.state.is_final() {
        return AdvanceResult::Final { state: d.state };
    }
    if let Some(stop) = d.stop {
        return AdvanceResult::Stopped { stop };
    }
    let tried = |step: u8| d.attempts.iter().any(|a| a.step >= step && a.outcome.is_some());
    if d.requested_step.is_some_and(|step| step >= d.step && !tried(step)) {
        // A request that names the step is the same one again: its first answer may have been lost.
        let is_repeated = request.step == Some(d.step);
        return if is_repeated {
            AdvanceResult::Before { state: d.state }
        } else {
            AdvanceResult::Pending { state: d.state }
        };
    }
    if usize::from(d.step) >= d.order.plan.len() {
        return AdvanceResult::PlanOver;
    }
    d.requested_step = Some(d.step + 1);
    d.version += 1;
    if d.open_attempt().is_none() {
        d.wake_at = Some(now);
    }
    AdvanceResult::Advanced { uid: d.order.uid, state: d.state }
}
