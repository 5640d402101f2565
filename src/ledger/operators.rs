//! What operators do: pauses of carriers, blocks of numbers, searches, quotas, deletion of a number, and the record of all that.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::decide::Quotas;
use super::group;
use super::items::FoundRows;
use super::time::{uuid_at, uuid_from};
use super::{
    AuditRecord, DispatchPage, DispatchSearch, EraseStep, Erased, Ledger, LedgerError, NewAuditRecord,
    NewBlock, NewPause, OperatorAct, RetryResult, StoredRestrictions,
};
use crate::domain::dispatch::Dispatch;
use crate::domain::restrictions::BlockKind;

/// Maximum number of rows that one page of a search looks at.
pub(super) const MAX_EXAMINED: usize = 10_000;
/// The stored country of a pause that holds everywhere. It is part of a primary key, so it cannot be null.
pub(super) const EVERYWHERE: &str = "";

/// The operations of a database for operators. An operation with a record writes it in its transaction.
#[async_trait]
pub(super) trait Operators: Send + Sync {
    async fn restriction_revision(&self) -> Result<Uuid, LedgerError>;
    async fn restrictions(&self) -> Result<StoredRestrictions, LedgerError>;
    async fn pause_carrier(&self, pause: &NewPause, audit: &NewAuditRecord) -> Result<(), LedgerError>;
    /// Returns whether there was a pause. Without one, nothing is recorded.
    async fn resume_carrier(
        &self, carrier: &str, country: Option<&str>, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError>;
    async fn probe_carrier(&self, carrier: &str, audit: &NewAuditRecord) -> Result<(), LedgerError>;
    async fn add_block(&self, block: &NewBlock, audit: &NewAuditRecord) -> Result<(), LedgerError>;
    /// Returns whether there was a block. Without one, nothing is recorded.
    async fn remove_block(
        &self, kind: BlockKind, value: &str, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError>;
    /// Looks at the newest [`MAX_EXAMINED`] rows that are before the upper bound, exclusive.
    async fn find_rows(
        &self, search: &DispatchSearch, from: Uuid, before: Uuid,
    ) -> Result<FoundRows, LedgerError>;
    /// Reads dispatches, without those that this version cannot read.
    async fn read_many(&self, uids: &[Uuid]) -> Result<Vec<Dispatch>, LedgerError>;
    async fn retry_dispatch(&self, uid: Uuid) -> Result<RetryResult, LedgerError>;
    async fn quotas(&self, keys: &[String]) -> Result<Quotas, LedgerError>;
    async fn delete_quotas(&self, keys: &[String], audit: &NewAuditRecord) -> Result<u64, LedgerError>;
    async fn erase(&self, step: &EraseStep) -> Result<Erased, LedgerError>;
    async fn record_act(&self, audit: &NewAuditRecord) -> Result<(), LedgerError>;
    /// The records between these ids, both exclusive, newest first.
    async fn audit(&self, after: Uuid, before: Uuid, limit: usize) -> Result<Vec<AuditRecord>, LedgerError>;
}

impl Ledger {
    /// A record of an act, to be written with it.
    pub fn new_record(
        &self, who: &str, act: OperatorAct, subject: impl Into<String>, reason: Option<&str>,
    ) -> NewAuditRecord {
        let (who, reason) = (who.to_owned(), reason.map(str::to_owned));
        NewAuditRecord { id: uuid_from(self.now()), who, act, subject: subject.into(), reason }
    }

    /// The revision of the restrictions. It differs after each change.
    pub async fn restriction_revision(&self) -> Result<Uuid, LedgerError> {
        self.store.restriction_revision().await
    }

    /// All stored restrictions, also those that have ended.
    pub async fn restrictions(&self) -> Result<StoredRestrictions, LedgerError> {
        self.store.restrictions().await
    }

    /// Pauses a carrier everywhere or in one country, or replaces that pause.
    pub async fn pause_carrier(&self, pause: &NewPause, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        group::with_retries("pause_carrier", &self.observed, || self.store.pause_carrier(pause, audit)).await
    }

    /// Ends the pause of a carrier in a country, or without a country all its pauses. Returns whether there was one.
    pub async fn resume_carrier(
        &self, carrier: &str, country: Option<&str>, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError> {
        group::with_retries("resume_carrier", &self.observed, || {
            self.store.resume_carrier(carrier, country, audit)
        })
        .await
    }

    /// Asks every worker to let the next message to a carrier through.
    pub async fn probe_carrier(&self, carrier: &str, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        group::with_retries("probe_carrier", &self.observed, || self.store.probe_carrier(carrier, audit))
            .await
    }

    /// Blocks a number, a prefix or a country, or replaces its block.
    pub async fn add_block(&self, block: &NewBlock, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        group::with_retries("add_block", &self.observed, || self.store.add_block(block, audit)).await
    }

    /// Removes a block. Returns whether there was one.
    pub async fn remove_block(
        &self, kind: BlockKind, value: &str, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError> {
        group::with_retries("remove_block", &self.observed, || self.store.remove_block(kind, value, audit))
            .await
    }

    /// Searches dispatches, newest first. A page looks at a limited number of rows, so it may be empty and have a next one.
    pub async fn search(&self, search: &DispatchSearch) -> Result<DispatchPage, LedgerError> {
        let end = search.to.map_or(Uuid::max(), uuid_at);
        let before = search.before.map_or(end, |cursor| cursor.min(end));
        let found = self.store.find_rows(search, uuid_at(search.from), before).await?;
        let next = if found.uids.len() == search.limit {
            found.uids.last().copied()
        } else {
            found.oldest.filter(|_| found.examined == MAX_EXAMINED)
        };
        let mut dispatches =
            if found.uids.is_empty() { vec![] } else { self.store.read_many(&found.uids).await? };
        dispatches.sort_unstable_by_key(|d| std::cmp::Reverse(d.order.uid));
        Ok(DispatchPage { dispatches, next })
    }

    /// Makes a waiting dispatch due now.
    pub async fn retry_dispatch(&self, uid: Uuid) -> Result<RetryResult, LedgerError> {
        group::with_retries("retry_dispatch", &self.observed, || self.store.retry_dispatch(uid)).await
    }

    /// Reads the quotas with these keys.
    pub async fn quotas(&self, keys: &[String]) -> Result<Quotas, LedgerError> {
        self.store.quotas(keys).await
    }

    /// Deletes the quotas with these keys, so that all their uses are free. Returns how many there were.
    pub async fn delete_quotas(&self, keys: &[String], audit: &NewAuditRecord) -> Result<u64, LedgerError> {
        group::with_retries("delete_quotas", &self.observed, || self.store.delete_quotas(keys, audit)).await
    }

    /// Deletes dispatches of a number that are final or stopped, with everything that belongs to them.
    pub async fn erase(&self, step: &EraseStep) -> Result<Erased, LedgerError> {
        group::with_retries("erase", &self.observed, || self.store.erase(step)).await
    }

    /// Records an act that is several operations, before the first of them.
    pub async fn record_act(&self, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        group::with_retries("record_act", &self.observed, || self.store.record_act(audit)).await
    }

    /// The recorded acts since a time, newest first. `before` is the id of the last record of the page before.
    pub async fn audit(
        &self, since: Timestamp, before: Option<Uuid>, limit: usize,
    ) -> Result<Vec<AuditRecord>, LedgerError> {
        self.store.audit(uuid_at(since), before.unwrap_or(Uuid::max()), limit).await
    }
}
