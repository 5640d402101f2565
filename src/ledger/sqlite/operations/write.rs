//! Loads a dispatch, decides its change, and stores it: begins, decisions, receipts, stop and next requests.

use jiff::Timestamp;
use rusqlite::Connection;

use super::{Fault, find, load_quotas, outbox, save, save_quotas};
use crate::domain::dispatch::Dispatch;
use crate::ledger::decide::{self, Quotas};
use crate::ledger::items::{
    AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult, DecisionWrite, EventBatch,
    LostCommit, RecordResult, Recorded, StopRequest, Stopped, WriteResult,
};
use crate::ledger::sqlite::row::load;

pub(in crate::ledger::sqlite) fn begin(
    db: &Connection, request: &BeginRequest, now: Timestamp,
) -> Result<BeginResult, Fault> {
    let Some(mut d) = load(db, request.uid, now)? else {
        return Ok(BeginResult::CommitLost(LostCommit::Dispatch));
    };
    let mut quotas = load_quotas(db, request.channel_limit.iter().map(|l| l.key.as_str()))?;
    let before = d.clone();
    let result = decide::begin(&mut d, request, &mut quotas, now);
    save_quotas(db, &quotas)?;
    save(db, &before, &d)?;
    Ok(result)
}

pub(in crate::ledger::sqlite) fn write_decision(
    db: &Connection, write: &DecisionWrite, now: Timestamp, batches: &mut Vec<EventBatch>,
) -> Result<WriteResult, Fault> {
    let Some(mut d) = load(db, write.uid, now)? else {
        return Ok(WriteResult::CommitLost(LostCommit::Dispatch));
    };
    let mut quotas = if write.changes_quota_uses() {
        load_quotas(db, d.quota_uses.iter().map(|used| used.key.as_str()))?
    } else {
        Quotas::default()
    };
    let before = d.clone();
    let result = decide::write_decision(&mut d, write, &mut quotas, now);
    if let (WriteResult::Written, Some(transition)) = (&result, &write.transition) {
        batches.extend(outbox::insert(db, &d.order, &transition.events, write.destinations, now)?);
    }
    save_quotas(db, &quotas)?;
    save(db, &before, &d)?;
    Ok(result)
}

pub(in crate::ledger::sqlite) fn record(
    db: &Connection, receipt: &AttemptReceipt, now: Timestamp,
) -> Result<Recorded, Fault> {
    let recorded = change(db, load(db, receipt.uid, now)?, |d| decide::record(d, receipt, now))?;
    if recorded.result == RecordResult::Stray {
        db.prepare_cached("insert or ignore into stray_receipt values (?1, ?2, ?3, ?4, ?5)")?.execute((
            receipt.uid.to_string(),
            receipt.n,
            &receipt.carrier,
            serde_json::to_string(&receipt.receipt)?,
            now.as_microsecond(),
        ))?;
    }
    Ok(recorded)
}

pub(in crate::ledger::sqlite) fn stop(
    db: &Connection, request: &StopRequest, now: Timestamp,
) -> Result<Stopped, Fault> {
    let found = find(db, &request.tenant, request.id, now)?;
    change(db, found, |d| decide::stop(d, request, now))
}

pub(in crate::ledger::sqlite) fn advance(
    db: &Connection, request: &AdvanceRequest, now: Timestamp,
) -> Result<AdvanceResult, Fault> {
    let found = find(db, &request.tenant, request.id, now)?;
    change(db, found, |d| decide::advance(d, request, now))
}

/// Decides on a row, and stores its change.
pub(in crate::ledger::sqlite) fn change<R>(
    db: &Connection, mut row: Option<Dispatch>, decide: impl FnOnce(Option<&mut Dispatch>) -> R,
) -> Result<R, Fault> {
    let before = row.clone();
    let result = decide(row.as_mut());
    if let (Some(before), Some(d)) = (before, row) {
        save(db, &before, &d)?;
    }
    Ok(result)
}
