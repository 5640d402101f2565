//! What leaves the ledger after a commit: batches of events for the publisher of this process, and the rows that it has delivered.

use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::items::EventBatch;

#[derive(Default)]
pub(super) struct Outgoing {
    publisher: OnceLock<mpsc::Sender<EventBatch>>,
    /// Rows of the outbox whose events are all delivered. The next write deletes them.
    delivered: Mutex<Vec<Uuid>>,
}

impl Outgoing {
    /// Sets the publisher of this process. Later calls change nothing.
    pub(super) fn publish_to(&self, publisher: mpsc::Sender<EventBatch>) {
        let _ = self.publisher.set(publisher);
    }

    /// Hands over committed batches. Never waits: what does not fit is found by a scan after its lease.
    pub(super) fn publish(&self, batches: Vec<EventBatch>) {
        let Some(publisher) = self.publisher.get() else { return };
        for batch in batches {
            let _ = publisher.try_send(batch);
        }
    }

    /// Adds rows that are delivered.
    pub(super) fn add_delivered(&self, rows: impl IntoIterator<Item = Uuid>) {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
    }

    /// Takes the delivered rows, to delete them. If that fails, the caller adds them again.
    pub(super) fn take_delivered(&self) -> Vec<Uuid> {
        std::mem::take(&mut *self.delivered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
