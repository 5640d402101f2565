//! Whether the ledger answers. While it does not, nothing new is taken in, and what is held is kept.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ledger::{Ledger, LedgerError};

/// After the ledger is back, finishes go first: no worker scans for this long.
const NO_SCAN: Duration = Duration::from_secs(3);
/// How often a ledger that is away is asked again.
pub const AGAIN: Duration = Duration::from_secs(1);

/// The state of the ledger, as this process knows it.
pub struct Outage {
    away: watch::Sender<Option<LedgerError>>,
    back_at: watch::Sender<Option<Instant>>,
}

impl Outage {
    /// It answers, as far as anybody knows.
    #[expect(clippy::new_without_default, reason = "a state, not a value")]
    pub fn new() -> Self {
        Self { away: watch::Sender::new(None), back_at: watch::Sender::new(None) }
    }

    /// Follows it: why the ledger is away, while it is.
    pub fn watch(&self) -> watch::Receiver<Option<LedgerError>> {
        self.away.subscribe()
    }

    /// Why the ledger is away, if it is.
    pub fn why(&self) -> Option<LedgerError> {
        self.away.borrow().clone()
    }

    /// Whether the ledger answers.
    pub fn answers(&self) -> bool {
        self.away.borrow().is_none()
    }

    /// Whether due work may be looked for.
    pub fn may_scan(&self) -> bool {
        self.answers() && self.back_at.borrow().is_none_or(|at| at.elapsed() >= NO_SCAN)
    }

    /// A statement failed: said once, until it is back.
    pub fn begins(&self, e: &LedgerError) {
        if !e.is_outage() {
            // It is there. One row's trouble is no outage: the row is left to its lease.
            tracing::error!(reason = %e, "the ledger refuses a statement");
            return;
        }
        let first = |away: &mut Option<LedgerError>| {
            let first = away.is_none();
            away.get_or_insert_with(|| e.clone());
            first
        };
        if self.away.send_if_modified(first) {
            tracing::warn!(reason = %e, "the ledger is away: no job is taken in until it answers");
        }
    }

    /// Asks a ledger that is away until it answers; ends with the process.
    pub async fn watch_over(&self, ledger: &Ledger) {
        let mut away = self.away.subscribe();
        loop {
            if away.wait_for(Option::is_some).await.is_err() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
            if ledger.check().await.is_ok() {
                tracing::info!("the ledger answers again");
                self.back_at.send_replace(Some(Instant::now()));
                self.away.send_replace(None);
            }
        }
    }

    /// Waits until the ledger answers.
    pub async fn over(&self) {
        let _ = self.away.subscribe().wait_for(Option::is_none).await;
    }
}
