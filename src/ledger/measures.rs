//! What a ledger says about itself: its connections, and the work that waits in it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::observer::Observer;
use super::{Ledger, LedgerError};

/// Maximum number of rows that are counted. Above it the number says only that there are very many.
pub(super) const MAX_COUNTED: i64 = 100_000;

/// The connections of this process to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Maximum number of connections.
    pub max: usize,
    /// Open connections that nobody uses.
    pub idle: usize,
    /// Connections in use.
    pub in_use: usize,
    /// Operations that wait for a connection.
    pub waiting: usize,
}

/// A number of waiting rows, at most 100,000, and the age of the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// The number of rows.
    pub rows: u64,
    /// How long the oldest row has waited.
    pub oldest: Duration,
}

/// The work that waits in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Wake-ups that are due. In PostgreSQL one wake-up may be of several dispatches.
    pub due: Waiting,
    /// Events for RabbitMQ that it does not have yet, in rows.
    pub broker: Waiting,
    /// Events for webhooks that their receivers do not have yet, in rows.
    pub webhooks: Waiting,
    /// Rows of events for webhooks that are not tried again.
    pub given_up: u64,
}

/// Measures of a database.
#[async_trait]
pub(super) trait Measures: Send + Sync {
    /// The connections, if the database has a pool of them.
    fn pool(&self) -> Option<PoolState>;
    async fn backlog(&self) -> Result<Backlog, LedgerError>;
}

impl Ledger {
    /// Sets who gets a report of each transaction. Later calls change nothing.
    pub fn observe_transactions(&self, observer: Arc<dyn Observer>) {
        self.observed.set(observer);
    }

    /// The connections of this process. `None` for SQLite.
    pub fn pool(&self) -> Option<PoolState> {
        self.store.pool()
    }

    /// Counts the work that waits. It reads index entries of at most 100,000 rows each.
    pub async fn backlog(&self) -> Result<Backlog, LedgerError> {
        self.store.backlog().await
    }
}
