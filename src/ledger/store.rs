//! The seam between the ledger and its databases.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::measures::Measures;
use super::message_ids::MessageIds;
use super::operators::Operators;
use super::statistics::Statistics;
use super::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult,
    DecisionWrite, EventBatch, KeyRow, LedgerError, Receiver, Recorded, StopRequest, Stopped, Undelivered,
    WebhookRow, WriteResult,
};
use crate::domain::attempt::State;
use crate::domain::dispatch::Dispatch;

/// A worker counts as alive for this long after its last heartbeat.
pub(super) const WORKER_ALIVE: Duration = Duration::from_secs(15);
/// A receipt whose attempt is not known is kept for this long.
pub(super) const RECEIPT_KEPT: Duration = Duration::from_hours(72);
/// The final states, as in the column. Rows of a state that this version does not know are not deleted.
pub(super) static FINAL_STATES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    State::ALL.iter().filter(|state| state.is_final()).map(|state| state.as_str()).collect()
});

/// The operations of a database. Each item is changed in one transaction. Answers have the order of the group.
#[async_trait]
pub(super) trait Store: MessageIds + Measures + Operators + Statistics {
    async fn migrate(&self) -> Result<(), LedgerError>;
    async fn check(&self) -> Result<Timestamp, LedgerError>;
    async fn admit(&self, group: &[Arc<Admission>]) -> Result<Vec<AdmissionResult>, LedgerError>;
    async fn begin(&self, group: &[Arc<BeginRequest>]) -> Result<Vec<BeginResult>, LedgerError>;
    /// Writes decisions without locking their rows before, each on the row that its worker has seen. `None` for those that need [`Store::write_locked`].
    async fn write_unlocked(
        &self, group: &[Arc<DecisionWrite>],
    ) -> Result<Vec<Option<WriteResult>>, LedgerError>;
    async fn write_locked(&self, group: &[Arc<DecisionWrite>]) -> Result<Vec<WriteResult>, LedgerError>;
    async fn record(&self, group: &[Arc<AttemptReceipt>]) -> Result<Vec<Recorded>, LedgerError>;
    async fn stop(&self, request: &StopRequest) -> Result<Stopped, LedgerError>;
    async fn advance(&self, request: &AdvanceRequest) -> Result<AdvanceResult, LedgerError>;
    /// Takes for a lease those of the dispatches that are due.
    async fn take(&self, group: &[Arc<Uuid>]) -> Result<Vec<Option<Dispatch>>, LedgerError>;
    async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError>;
    async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError>;
    async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError>;
    async fn take_events(&self, receiver: &Receiver, limit: usize) -> Result<Vec<EventBatch>, LedgerError>;
    async fn record_undelivered(&self, left: &Undelivered) -> Result<(), LedgerError>;
    async fn delete_delivered(&self) -> Result<(), LedgerError>;
    async fn forget_events(
        &self, created_before: Timestamp, configured: &[Receiver], limit: usize,
    ) -> Result<u64, LedgerError>;
    async fn undelivered(&self, receiver: &Receiver, uid: Uuid) -> Result<Vec<EventBatch>, LedgerError>;
    async fn webhook_rows(&self, tenant: &str, limit: usize) -> Result<Vec<WebhookRow>, LedgerError>;
    async fn replay_webhooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError>;
    async fn heartbeat(&self, worker: &str) -> Result<usize, LedgerError>;
    async fn remove_worker(&self, worker: &str) -> Result<(), LedgerError>;
    async fn claim_housekeeping(&self, worker: &str, lease: Duration) -> Result<bool, LedgerError>;
    async fn strays(&self, limit: usize) -> Result<Vec<AttemptReceipt>, LedgerError>;
    async fn delete_stray(&self, stray: &AttemptReceipt) -> Result<(), LedgerError>;
    async fn purge(&self, admitted_before: Timestamp, limit: usize) -> Result<u64, LedgerError>;
    async fn purge_quotas(&self, limit: usize) -> Result<u64, LedgerError>;
    async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError>;
    async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError>;
    async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError>;
    async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError>;
}
