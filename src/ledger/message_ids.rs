//! The callbacks of some accounts contain only the carrier's message id. This indexed table maps these ids to attempts.

use async_trait::async_trait;

use super::{AttemptReceipt, Ledger, LedgerError, RecordResult};
use crate::domain::attempt::{AttemptId, Receipt};

/// Maximum number of kept receipts that are recorded at once.
const MAX_MATCHED: usize = 200;

/// The operations of a database on carriers' message ids.
#[async_trait]
pub(super) trait MessageIds: Send + Sync {
    async fn store_message_id(
        &self, carrier: &str, message_id: &str, attempt: AttemptId,
    ) -> Result<(), LedgerError>;
    async fn named_attempt(&self, carrier: &str, message_id: &str) -> Result<Option<AttemptId>, LedgerError>;
    async fn keep_unmatched(
        &self, carrier: &str, message_id: &str, receipt: &Receipt,
    ) -> Result<(), LedgerError>;
    async fn has_unmatched(&self, carrier: &str, message_id: &str) -> Result<bool, LedgerError>;
    /// Kept receipts whose message id is known by now. Deletes those that have waited for 72 h.
    async fn matched(&self, most: usize) -> Result<Vec<AttemptReceipt>, LedgerError>;
    /// Deletes one kept receipt.
    async fn forget_unmatched(
        &self, carrier: &str, message_id: &str, receipt: &Receipt,
    ) -> Result<(), LedgerError>;
}

impl Ledger {
    /// Stores the carrier's message id of an attempt, so that a receipt with only this id finds it. Records the receipts that
    /// arrived before.
    pub async fn store_message_id(
        &self, carrier: &str, message_id: &str, attempt: AttemptId,
    ) -> Result<(), LedgerError> {
        self.store.store_message_id(carrier, message_id, attempt).await?;
        // This check runs in its own transaction. A receipt that is stored after this check looks for the id again, and finds it.
        if self.store.has_unmatched(carrier, message_id).await? {
            self.match_message_ids().await?;
        }
        Ok(())
    }

    /// Records a receipt by the carrier's message id. If no attempt has the id yet, the receipt is kept for 72 h as an unmatched
    /// receipt.
    pub async fn record_by_message_id(
        &self, carrier: &str, message_id: &str, receipt: Receipt,
    ) -> Result<(Option<AttemptId>, RecordResult), LedgerError> {
        let mut attempt = self.store.named_attempt(carrier, message_id).await?;
        if attempt.is_none() {
            self.store.keep_unmatched(carrier, message_id, &receipt).await?;
            attempt = self.store.named_attempt(carrier, message_id).await?;
        }
        let Some(attempt) = attempt else { return Ok((None, RecordResult::Stray)) };
        let recording =
            AttemptReceipt { uid: attempt.uid, n: attempt.n, carrier: carrier.to_owned(), receipt };
        Ok((Some(attempt), self.record(recording).await?))
    }

    /// Records kept receipts whose message id is known by now. Returns the attempts that changed.
    pub async fn match_message_ids(&self) -> Result<Vec<AttemptId>, LedgerError> {
        let mut changed = vec![];
        for recording in self.store.matched(MAX_MATCHED).await? {
            let attempt = AttemptId { uid: recording.uid, n: recording.n };
            match self.record(recording.clone()).await {
                Ok(RecordResult::Recorded) => changed.push(attempt),
                Ok(_) => {}
                // The receipt stays, and does not keep back the others.
                Err(e) if e.is_of_one_item() => continue,
                Err(e) => return Err(e),
            }
            let AttemptReceipt { carrier, receipt, .. } = recording;
            if let Some(message_id) = &receipt.message_id {
                self.store.forget_unmatched(&carrier, message_id, &receipt).await?;
            }
        }
        Ok(changed)
    }
}
