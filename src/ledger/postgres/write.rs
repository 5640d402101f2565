//! Changes of dispatches: begins, decisions, receipts, stop and next requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_postgres::types::Json;
use uuid::Uuid;

use super::Postgres;
use super::rows::{Change, Locked, Which};
use crate::domain::dispatch::Dispatch;
use crate::ledger::LedgerError;
use crate::ledger::decide::{self, Quotas};
use crate::ledger::items::{
    AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult, DecisionWrite, RecordResult,
    StopRequest, StopResult, WriteResult,
};

const INSERT_STRAYS: &str = "insert into stray_receipt (uid, n, carrier, receipt, received_at)
     select u.uid, u.n, u.carrier, jsonb_strip_nulls(u.receipt), clock_timestamp()
       from unnest($1::uuid[], $2::int2[], $3::text[], $4::jsonb[]) as u(uid, n, carrier, receipt)
     on conflict do nothing";

impl Postgres {
    pub(super) async fn begin_group(
        &self, group: &[Arc<BeginRequest>],
    ) -> Result<Vec<BeginResult>, LedgerError> {
        let keys: BTreeSet<&str> = group
            .iter()
            .filter_map(|request| request.channel_limit.as_ref())
            .map(|limit| limit.key.as_str())
            .collect();
        let uids = group.iter().map(|request| request.uid).collect();
        self.change_locked("begin", keys, uids, |locked| {
            group
                .iter()
                .map(|request| {
                    let now = locked.now;
                    match locked.row(request.uid) {
                        None => decide::begin_without_row(locked.is_unreadable(request.uid)),
                        Some((d, quotas)) => decide::begin(d, request, quotas, now),
                    }
                })
                .collect()
        })
        .await
    }

    /// Writes decisions. One statement writes those whose row still has the expected version, that have a transition, and that change no
    /// quotas. The others are decided on locked rows.
    pub(super) async fn write_group(
        &self, group: &[Arc<DecisionWrite>],
    ) -> Result<Vec<WriteResult>, LedgerError> {
        let decided: BTreeMap<Uuid, (&DecisionWrite, Dispatch)> =
            group.iter().filter_map(|write| Some((write.uid, (&**write, decided_on_seen(write)?)))).collect();
        let mut change = Change::of_unlocked();
        for (write, d) in decided.values() {
            let events = write.transition.as_ref().map(|t| (t.events.as_slice(), write.destinations));
            change.add(&write.seen, d, events);
            let now = write.transition.as_ref().map_or(d.now, |t| t.at);
            change.timers.add_change(write.seen.wake_at, d, now);
        }
        let written = if change.is_empty() { BTreeSet::new() } else { self.change_unlocked(change).await? };
        let left: Vec<Arc<DecisionWrite>> =
            group.iter().filter(|write| !written.contains(&write.uid)).cloned().collect();
        let mut rest = self.write_locked(&left).await?.into_iter();
        let results = group
            .iter()
            .map(|write| if written.contains(&write.uid) { Some(WriteResult::Written) } else { rest.next() });
        Ok(results.flatten().collect())
    }

    async fn write_locked(&self, group: &[Arc<DecisionWrite>]) -> Result<Vec<WriteResult>, LedgerError> {
        if group.is_empty() {
            return Ok(vec![]);
        }
        let changing = group.iter().filter(|write| write.changes_quota_uses());
        let keys: BTreeSet<&str> = changing.flat_map(|write| &write.keys).map(String::as_str).collect();
        let uids = group.iter().map(|write| write.uid).collect();
        self.change_locked("write", keys, uids, |locked| {
            group.iter().map(|write| write_one(locked, write)).collect()
        })
        .await
    }

    pub(super) async fn record_group(
        &self, group: &[Arc<AttemptReceipt>],
    ) -> Result<Vec<RecordResult>, LedgerError> {
        if group.iter().any(|receipt| i16::try_from(receipt.n).is_err()) {
            return Err(LedgerError::Data { sqlstate: "22003".to_owned(), constraint: None });
        }
        let uids = group.iter().map(|receipt| receipt.uid).collect();
        let results: Vec<RecordResult> = self
            .change_locked("record", BTreeSet::new(), uids, |locked| {
                let now = locked.now;
                let one = |receipt: &Arc<AttemptReceipt>| {
                    decide::record(locked.row(receipt.uid).map(|(d, _)| d), receipt, now)
                };
                group.iter().map(one).collect()
            })
            .await?;
        let strays: Vec<&AttemptReceipt> = group
            .iter()
            .zip(&results)
            .filter(|(_, result)| **result == RecordResult::Stray)
            .map(|(receipt, _)| &**receipt)
            .collect();
        self.keep_strays(&strays).await?;
        Ok(results)
    }

    async fn keep_strays(&self, strays: &[&AttemptReceipt]) -> Result<(), LedgerError> {
        if strays.is_empty() {
            return Ok(());
        }
        let uids: Vec<Uuid> = strays.iter().map(|stray| stray.uid).collect();
        let n: Vec<i16> = strays.iter().map(|stray| i16::try_from(stray.n).unwrap_or(i16::MAX)).collect();
        let carriers: Vec<&str> = strays.iter().map(|stray| stray.carrier.as_str()).collect();
        let receipts: Vec<Json<_>> = strays.iter().map(|stray| Json(&stray.receipt)).collect();
        self.query(INSERT_STRAYS, &[&uids, &n, &carriers, &receipts]).await.map(drop)
    }

    pub(super) async fn stop_one(&self, request: &StopRequest) -> Result<StopResult, LedgerError> {
        self.change_by_id(&request.tenant, request.id, |d, now| decide::stop(d, request, now)).await
    }

    pub(super) async fn advance_one(&self, request: &AdvanceRequest) -> Result<AdvanceResult, LedgerError> {
        self.change_by_id(&request.tenant, request.id, |d, now| decide::advance(d, request, now)).await
    }

    /// Locks quotas and rows, decides, and stores the changes. Two round trips.
    async fn change_locked<R>(
        &self, act: &str, keys: BTreeSet<&str>, mut uids: Vec<Uuid>, decide: impl FnOnce(&mut Locked) -> R,
    ) -> Result<R, LedgerError> {
        uids.sort_unstable();
        let keys: Vec<&str> = keys.into_iter().collect();
        let connection = self.connect().await?;
        let mut locked = self.lock(&connection, &keys, Which::Uids(uids)).await?;
        let result = decide(&mut locked);
        self.store(&connection, &locked, act).await?;
        Ok(result)
    }

    async fn change_by_id<R>(
        &self, tenant: &str, id: Uuid, decide: impl FnOnce(Option<&mut Dispatch>, jiff::Timestamp) -> R,
    ) -> Result<R, LedgerError> {
        let connection = self.connect().await?;
        let mut locked = self.lock(&connection, &[], Which::Id(tenant, id)).await?;
        if locked.has_unreadable() {
            return Err(LedgerError::UnknownForm);
        }
        let now = locked.now;
        let result = decide(locked.rows.values_mut().next().map(|row| &mut row.d), now);
        self.store(&connection, &locked, "request").await?;
        Ok(result)
    }
}

/// Writes a decision to a locked row.
fn write_one(locked: &mut Locked, write: &DecisionWrite) -> WriteResult {
    let now = locked.now;
    let is_unreadable = locked.is_unreadable(write.uid);
    let Some((d, quotas)) = locked.row(write.uid) else {
        return decide::write_without_row(write, is_unreadable);
    };
    let result = decide::write_decision(d, write, quotas, now);
    if let (WriteResult::Written, Some(transition)) = (&result, &write.transition) {
        locked.publish(write.uid, &transition.events, write.destinations);
    }
    result
}

/// The row after a decision, computed from the row that the worker has seen. `None` if the decision needs locks: it changes quotas, or it
/// is not written as a whole.
fn decided_on_seen(write: &DecisionWrite) -> Option<Dispatch> {
    let transition = write.transition.as_ref()?;
    if write.changes_quota_uses() {
        return None;
    }
    let mut d = write.seen.clone();
    let result = decide::write_decision(&mut d, write, &mut Quotas::default(), transition.at);
    debug_assert!(
        (&d.quota_uses, d.stop, d.requested_step)
            == (&write.seen.quota_uses, write.seen.stop, write.seen.requested_step),
        "a decision changes no facts"
    );
    (result == WriteResult::Written).then_some(d)
}
