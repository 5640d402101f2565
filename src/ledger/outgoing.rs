//! What leaves the ledger after a commit: batches of events for the publisher of this process, and the rows that it has delivered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::items::{EventBatch, Receiver};

#[derive(Default)]
pub(super) struct Outgoing {
    publisher: OnceLock<mpsc::Sender<EventBatch>>,
    /// Rows of the outbox whose events are all delivered. They are deleted by the next unlocked write of decisions (PostgreSQL), or by
    /// `delete_delivered`.
    delivered: Mutex<Vec<Uuid>>,
    /// Number of events that the live stream has missed.
    missed: AtomicU64,
}

impl Outgoing {
    /// Sets the publisher of this process. Later calls change nothing.
    pub(super) fn publish_to(&self, publisher: mpsc::Sender<EventBatch>) {
        let _ = self.publisher.set(publisher);
    }

    /// Hands over committed batches. Never waits: a stored batch that does not fit is found by a scan after its lease. Events for the live
    /// stream are not stored, so those that do not fit are counted.
    pub(super) fn publish(&self, batches: Vec<EventBatch>) {
        let Some(publisher) = self.publisher.get() else { return };
        for batch in batches {
            let Err(rejected) = publisher.try_send(batch) else { continue };
            let batch = rejected.into_inner();
            if batch.receiver == Receiver::LiveStream {
                self.missed.fetch_add(batch.event_count(), Ordering::Relaxed);
            }
        }
    }

    /// Takes the number of events that the live stream has missed since the last call.
    pub(super) fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }

    /// Adds rows that are delivered.
    pub(super) fn add_delivered(&self, rows: impl IntoIterator<Item = Uuid>) {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
    }

    /// Takes the delivered rows, to delete them. If that fails, the caller adds them again.
    pub(super) fn take_delivered(&self) -> Vec<Uuid> {
        let mut rows = std::mem::take(&mut *self.delivered.lock().unwrap_or_else(PoisonError::into_inner));
        // In one order everywhere, so that two processes do not wait for each other's locks.
        rows.sort_unstable();
        rows
    }
}
