//! Facts from outside: delivery receipts, and the sender's stop and next requests.

use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::{Fault, find, save};
use crate::domain::dispatch::{Dispatch, Stop};
use crate::ledger::items::{
    AdvanceRequest, AdvanceResult, AttemptReceipt, RecordResult, StopRequest, StopResult,
};
use crate::ledger::sqlite::row::{load, put_attempt};

pub(in crate::ledger::sqlite) fn record(
    db: &Connection, it: &AttemptReceipt, now: Timestamp,
) -> Result<RecordResult, Fault> {
    let found = load(db, it.uid, now)?;
    let attempt = found.and_then(|mut d: Dispatch| {
        let i = d.attempts.iter().position(|a| a.n == it.n && a.carrier == it.carrier)?;
        let a = d.attempts.swap_remove(i);
        Some((d, a))
    });
    let Some((mut d, mut a)) = attempt else {
        db.prepare_cached("insert or ignore into stray_receipt values (?1, ?2, ?3, ?4, ?5)")?.execute((
            it.uid.to_string(),
            it.n,
            &it.carrier,
            serde_json::to_string(&it.receipt)?,
            now.as_microsecond(),
        ))?;
        return Ok(RecordResult::Stray);
    };
    if !a.is_changed_by(&it.receipt) {
        return Ok(RecordResult::NothingNew);
    }
    a.apply_receipt(&it.receipt, now);
    put_attempt(db, it.uid, &a)?;
    d.version += 1;
    d.wake_at = Some(now);
    save(db, &d)?;
    Ok(RecordResult::Recorded)
}

pub(in crate::ledger::sqlite) fn stop(
    db: &Connection, it: &StopRequest, now: Timestamp,
) -> Result<StopResult, Fault> {
    let Some(d) = find(db, &it.tenant, it.id, now)? else {
        return Ok(StopResult::Unknown);
    };
    if d.state.is_final() {
        return Ok(StopResult::Final { state: d.state });
    }
    if let Some(stop) = d.stop {
        return Ok(StopResult::MarkedBefore { state: d.state, stop });
    }
    mark(db, d.order.uid, it.stop, now)?;
    Ok(StopResult::Marked { uid: d.order.uid, state: d.state })
}

pub(in crate::ledger::sqlite) fn advance(
    db: &Connection, it: &AdvanceRequest, now: Timestamp,
) -> Result<AdvanceResult, Fault> {
    let Some(mut d) = find(db, &it.tenant, it.id, now)? else {
        return Ok(AdvanceResult::Unknown);
    };
    if d.state.is_final() {
        return Ok(AdvanceResult::Final { state: d.state });
    }
    if let Some(stop) = d.stop {
        return Ok(AdvanceResult::Stopped { stop });
    }
    if it.step.is_some_and(|step| step < d.step) {
        return Ok(AdvanceResult::Before { state: d.state });
    }
    let tried = |step: u8| d.attempts.iter().any(|a| a.step >= step && a.outcome.is_some());
    if d.requested_step.is_some_and(|step| step >= d.step && !tried(step)) {
        return Ok(AdvanceResult::Pending);
    }
    if usize::from(d.step) >= d.order.plan.len() {
        return Ok(AdvanceResult::PlanOver);
    }
    d.requested_step = Some(d.step + 1);
    d.version += 1;
    if d.open_attempt().is_none() {
        d.wake_at = Some(now);
    }
    save(db, &d)?;
    Ok(AdvanceResult::Advanced { uid: d.order.uid, state: d.state })
}

pub(super) fn mark(db: &Connection, uid: Uuid, stop: Stop, now: Timestamp) -> Result<(), Fault> {
    let Some(mut d) = load(db, uid, now)? else {
        return Ok(());
    };
    d.stop = Some(stop);
    d.version += 1;
    if d.open_attempt().is_none() {
        d.wake_at = Some(now);
    }
    save(db, &d)
}
