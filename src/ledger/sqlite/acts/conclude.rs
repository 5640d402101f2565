//! Begins, outcomes and conclusions. They are written only if the version of the row is the expected one (optimistic locking).

use jiff::Timestamp;
use rusqlite::Connection;

use super::{Fault, put_quota_uses, quota_uses, republish_at, save, take_quota_uses, webhooks};
use crate::domain::attempt::{Outcome, State};
use crate::domain::clock::after;
use crate::domain::decide::{LEASE, QuotaChange};
use crate::domain::dispatch::Dispatch;
use crate::ledger::items::{AttemptOutcome, BeginRequest, BeginResult, DecisionWrite, WriteResult};
use crate::ledger::sqlite::REPUBLISH_AFTER;
use crate::ledger::sqlite::row::{load, put_attempt, update};

pub(in crate::ledger::sqlite) fn begin(
    db: &Connection, b: &BeginRequest, now: Timestamp,
) -> Result<BeginResult, Fault> {
    let Some(mut d) = load(db, b.uid, now)? else {
        return Ok(BeginResult::VersionConflict(None));
    };
    if d.open_attempt().is_some_and(|open| open.claim == b.attempt.claim) {
        return Ok(BeginResult::Begun(Box::new(d)));
    }
    if d.version != b.expected_version || d.open_attempt().is_some() || d.code.is_none() {
        return Ok(BeginResult::VersionConflict(Some(Box::new(d))));
    }
    if let Some(limit) = &b.channel_limit {
        match take_quota_uses(db, &[limit], now)? {
            Ok(uses) => d.quota_uses.extend(uses),
            Err(retry_after_s) => return Ok(BeginResult::ChannelRefused { retry_after_s, now }),
        }
    }
    if d.step != b.step {
        (d.step, d.step_at, d.snoozes) = (b.step, now, 0);
    }
    d.snoozed_until = None;
    d.version += 1;
    if d.state == State::Queued {
        d.state = State::Sending;
    }
    let attempt = b.attempt.begun(d.attempts.len() as u16 + 1, b.step, now);
    d.wake_at = Some(attempt.deadline);
    put_attempt(db, b.uid, &attempt)?;
    d.attempts.push(attempt);
    save(db, &d)?;
    Ok(BeginResult::Begun(Box::new(d)))
}

pub(in crate::ledger::sqlite) fn write_decision(
    db: &Connection, it: &DecisionWrite, now: Timestamp,
) -> Result<WriteResult, Fault> {
    let Some(mut d) = load(db, it.uid, now)? else {
        return Ok(WriteResult::VersionConflict(None));
    };
    let version_changed = d.version != it.expected_version;
    let Some(closing) = &it.outcome else {
        if version_changed {
            return Ok(WriteResult::VersionConflict(Some(Box::new(d))));
        }
        return write_transition(db, it, &mut d, now);
    };
    let Some(i) = d.attempts.iter().position(|a| a.n == closing.n && a.claim == closing.claim) else {
        return Ok(WriteResult::AlreadyClosed { proved_acceptance: false });
    };
    if d.attempts[i].outcome.is_some() {
        return late(db, closing, i, &mut d, now);
    }
    let a = &mut d.attempts[i];
    a.outcome = Some(closing.judgement.outcome);
    a.closed_at = Some(closing.at);
    a.details = closing.judgement.details.clone();
    put_attempt(db, it.uid, a)?;
    if version_changed || it.transition.is_none() {
        d.version += 1;
        d.wake_at = Some(after(now, LEASE));
        save(db, &d)?;
        return Ok(WriteResult::OutcomeOnly(Box::new(d)));
    }
    write_transition(db, it, &mut d, now)
}

fn write_transition(
    db: &Connection, it: &DecisionWrite, d: &mut Dispatch, now: Timestamp,
) -> Result<WriteResult, Fault> {
    let Some(transition) = &it.transition else {
        return Ok(WriteResult::VersionConflict(None));
    };
    transition.apply(d);
    if let Some(a) = transition.close.and_then(|n| d.attempts.iter().find(|a| a.n == n)) {
        put_attempt(db, it.uid, a)?;
    }
    for quota_use in d.quota_uses.iter().filter(|_| transition.quota_change != QuotaChange::Keep) {
        let mut kept = quota_uses(db, &quota_use.key)?;
        kept.retain(|at| *at != quota_use.at);
        if transition.quota_change == QuotaChange::TakeAgain {
            kept.push(quota_use.at);
            kept.sort();
        }
        put_quota_uses(db, &quota_use.key, &kept)?;
    }
    let mut republish_at = republish_at(db, it.uid)?;
    if it.destinations.webhook {
        webhooks::insert_pending(db, d, &transition.events, now)?;
    }
    if it.destinations.broker && !transition.events.is_empty() {
        d.pending_events.extend(transition.events.iter().cloned());
        republish_at = Some(after(now, REPUBLISH_AFTER));
    }
    update(db, d, republish_at)?;
    Ok(WriteResult::Written)
}

/// The attempt is closed already, by another worker or by an earlier run of the same write. Adds the details of the answer and
/// starts nothing.
fn late(
    db: &Connection, closing: &AttemptOutcome, i: usize, d: &mut Dispatch, now: Timestamp,
) -> Result<WriteResult, Fault> {
    let uid = d.order.uid;
    let a = &mut d.attempts[i];
    let known = matches!(a.outcome, Some(Outcome::Unknown | Outcome::Accepted));
    if closing.judgement.outcome != Outcome::Accepted || !known {
        return Ok(WriteResult::AlreadyClosed { proved_acceptance: false });
    }
    let fact = a.outcome == Some(Outcome::Unknown);
    a.outcome = Some(Outcome::Accepted);
    let details = closing.judgement.details.clone();
    a.details.message_id = a.details.message_id.take().or(details.message_id);
    a.details.segments = a.details.segments.or(details.segments);
    a.details.price = a.details.price.take().or(details.price);
    put_attempt(db, uid, a)?;
    if fact {
        d.version += 1;
        d.wake_at = Some(now);
        save(db, d)?;
    }
    Ok(WriteResult::AlreadyClosed { proved_acceptance: fact })
}
