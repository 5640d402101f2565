//! Counts of deliveries, and what each process reports of itself: the ledger keeps them for all processes of a deployment.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Ledger, LedgerError, group};
use crate::domain::delivery_count::{CountRow, INTERVAL};

/// The width of the intervals of older counts.
const MERGED_INTERVAL: Duration = Duration::from_secs(600);
/// Counts older than this are merged to longer intervals. The verdict needs an hour of short ones.
const MERGE_AFTER: Duration = Duration::from_secs(70 * 60);
/// Counts and reports older than this are deleted. It is longer than the day that people look at.
const FORGET_AFTER: Duration = Duration::from_secs(26 * 3600);

/// What a process reported of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessReport {
    /// The name of the process, unique among all that run.
    pub name: String,
    /// When it reported, by the ledger's clock.
    pub seen_at: Timestamp,
    /// The report: JSON.
    pub report: String,
}

/// The operations of a database on statistics.
#[async_trait]
pub(super) trait Statistics: Send + Sync {
    async fn add_counts(&self, rows: &[CountRow]) -> Result<(), LedgerError>;
    /// All counts of intervals that began at this time or later.
    async fn counts(&self, since: Timestamp) -> Result<Vec<CountRow>, LedgerError>;
    /// Merges intervals of the narrow width that began before this time: those of the oldest wide interval that has some. Returns their
    /// number.
    async fn merge_counts(
        &self, before: Timestamp, narrow: Duration, wide: Duration,
    ) -> Result<u64, LedgerError>;
    /// Deletes counts of intervals that began before this time, and reports that were made before it.
    async fn forget_statistics(&self, before: Timestamp) -> Result<(), LedgerError>;
    async fn report_process(&self, name: &str, report: &str) -> Result<(), LedgerError>;
    async fn process_reports(&self) -> Result<Vec<ProcessReport>, LedgerError>;
    /// The due time of the wake-up that has been due longest. `None` without one.
    async fn oldest_due(&self) -> Result<Option<Timestamp>, LedgerError>;
}

impl Ledger {
    /// Adds to the counts of deliveries. If the answer to the commit is lost, they may be added twice.
    pub async fn add_counts(&self, rows: &[CountRow]) -> Result<(), LedgerError> {
        group::with_retries("add_counts", &self.observed, || self.store.add_counts(rows)).await
    }

    /// The counts of deliveries of intervals that began at this time or later, by all processes. An interval and cell may have several
    /// rows of different widths.
    pub async fn counts(&self, since: Timestamp) -> Result<Vec<CountRow>, LedgerError> {
        self.store.counts(since).await
    }

    /// Merges and deletes old counts, and deletes old reports.
    pub async fn tidy_statistics(&self) -> Result<(), LedgerError> {
        let ago = |time: Duration| self.now().checked_sub(time).unwrap_or(Timestamp::MIN);
        self.store.forget_statistics(ago(FORGET_AFTER)).await?;
        // Each statement is bounded, so that none reaches its time limit.
        while self.store.merge_counts(ago(MERGE_AFTER), INTERVAL, MERGED_INTERVAL).await? > 0 {}
        Ok(())
    }

    /// Stores what a process reports of itself.
    pub async fn report_process(&self, name: &str, report: &str) -> Result<(), LedgerError> {
        self.store.report_process(name, report).await
    }

    /// What the processes of the last day reported of themselves.
    pub async fn process_reports(&self) -> Result<Vec<ProcessReport>, LedgerError> {
        self.store.process_reports().await
    }

    /// When the earliest timer became due. `None` if none is due. Its dispatches may be due later.
    pub async fn oldest_due(&self) -> Result<Option<Timestamp>, LedgerError> {
        let oldest = self.store.oldest_due().await?;
        Ok(oldest.filter(|due| *due <= self.now()))
    }
}
