//! Changes of dispatches: begins, decisions, receipts, stop and next requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::Postgres;
use super::rows::{Change, Locked, Which};
use crate::domain::dispatch::Dispatch;
use crate::ledger::LedgerError;
use crate::ledger::decide::{self, Quotas};
use crate::ledger::items::{
    AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult, DecisionWrite, LostCommit,
    RecordResult, Recorded, StopRequest, Stopped, WriteResult,
};

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
            let now = locked.now;
            let one = |request: &Arc<BeginRequest>| {
                Ok(match locked.readable_row(request.uid)? {
                    None => BeginResult::CommitLost(LostCommit::Dispatch),
                    Some((d, quotas)) => decide::begin(d, request, quotas, now),
                })
            };
            group.iter().map(one).collect()
        })
        .await
    }

    /// Writes, in one statement, the decisions whose row still has the expected version, that have a transition, and that change no
    /// quotas. Returns `None` for the others.
    pub(super) async fn unlocked_group(
        &self, group: &[Arc<DecisionWrite>],
    ) -> Result<Vec<Option<WriteResult>>, LedgerError> {
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
        Ok(group.iter().map(|write| written.contains(&write.uid).then_some(WriteResult::Written)).collect())
    }

    /// Decides on locked rows.
    pub(super) async fn locked_group(
        &self, group: &[Arc<DecisionWrite>],
    ) -> Result<Vec<WriteResult>, LedgerError> {
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
    ) -> Result<Vec<Recorded>, LedgerError> {
        if group.iter().any(|receipt| i16::try_from(receipt.n).is_err()) {
            return Err(LedgerError::Data { sqlstate: "22003".to_owned(), constraint: None });
        }
        let uids = group.iter().map(|receipt| receipt.uid).collect();
        self.change_locked("record", BTreeSet::new(), uids, |locked| {
            let now = locked.now;
            let mut results = vec![];
            for receipt in group {
                let recorded = decide::record(locked.row(receipt.uid).map(|(d, _)| d), receipt, now);
                if recorded.result == RecordResult::Stray {
                    locked.strays.push(Arc::clone(receipt));
                }
                results.push(recorded);
            }
            Ok(results)
        })
        .await
    }

    pub(super) async fn stop_one(&self, request: &StopRequest) -> Result<Stopped, LedgerError> {
        self.change_by_id(&request.tenant, request.id, |d, now| decide::stop(d, request, now)).await
    }

    pub(super) async fn advance_one(&self, request: &AdvanceRequest) -> Result<AdvanceResult, LedgerError> {
        self.change_by_id(&request.tenant, request.id, |d, now| decide::advance(d, request, now)).await
    }

    /// Locks quotas and rows, decides, and stores the changes. Two round trips.
    async fn change_locked<R>(
        &self, act: &str, keys: BTreeSet<&str>, mut uids: Vec<Uuid>,
        decide: impl FnOnce(&mut Locked) -> Result<R, LedgerError>,
    ) -> Result<R, LedgerError> {
        uids.sort_unstable();
        let keys: Vec<&str> = keys.into_iter().collect();
        let connection = self.connect().await?;
        let mut locked = self.lock(&connection, &keys, Which::Uids(uids)).await?;
        let result = match decide(&mut locked) {
            Ok(result) => result,
            Err(e) => {
                connection.roll_back().await?;
                return Err(e);
            }
        };
        self.store(&connection, &locked, act).await?;
        Ok(result)
    }

    async fn change_by_id<R>(
        &self, tenant: &str, id: Uuid, decide: impl FnOnce(Option<&mut Dispatch>, jiff::Timestamp) -> R,
    ) -> Result<R, LedgerError> {
        let connection = self.connect().await?;
        let mut locked = self.lock(&connection, &[], Which::Id(tenant, id)).await?;
        if locked.has_unreadable() {
            connection.roll_back().await?;
            return Err(LedgerError::UnknownForm);
        }
        let now = locked.now;
        let result = decide(locked.rows.values_mut().next().map(|row| &mut row.d), now);
        self.store(&connection, &locked, "request").await?;
        Ok(result)
    }
}

/// Writes a decision to a locked row.
fn write_one(locked: &mut Locked, write: &DecisionWrite) -> Result<WriteResult, LedgerError> {
    let now = locked.now;
    let Some((d, quotas)) = locked.readable_row(write.uid)? else {
        return Ok(WriteResult::CommitLost(LostCommit::Dispatch));
    };
    let result = decide::write_decision(d, write, quotas, now);
    if let (WriteResult::Written, Some(transition)) = (&result, &write.transition) {
        locked.publish(write.uid, &transition.events, write.destinations);
    }
    Ok(result)
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
        "a decision changes only the columns of its state and its outcome"
    );
    (result == WriteResult::Written).then_some(d)
}
