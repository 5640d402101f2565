//! Health of the ledger. During an outage the process takes in no new work and keeps the work it holds.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ledger::{Ledger, LedgerError};

/// Time without scans after an outage. The workers first write the outcomes of finished attempts.
const NO_SCAN: Duration = Duration::from_secs(3);
/// Interval at which an unreachable ledger is checked.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The state of the ledger, as this process knows it.
pub struct LedgerHealth {
    away: watch::Sender<Option<LedgerError>>,
    back_at: watch::Sender<Option<Instant>>,
}

impl LedgerHealth {
    /// Creates the healthy state.
    #[expect(clippy::new_without_default, reason = "a state, not a value")]
    pub fn new() -> Self {
        Self { away: watch::Sender::new(None), back_at: watch::Sender::new(None) }
    }

    /// Subscribes to the state: the reason of the outage, or `None` while the ledger answers.
    pub fn watch(&self) -> watch::Receiver<Option<LedgerError>> {
        self.away.subscribe()
    }

    /// The reason of the current outage, or `None`.
    pub fn why(&self) -> Option<LedgerError> {
        self.away.borrow().clone()
    }

    /// Whether the ledger answers and accepts writes.
    pub fn answers(&self) -> bool {
        self.away.borrow().is_none()
    }

    /// Whether workers may scan for due work. False during an outage and for 3 s after it.
    pub fn may_scan(&self) -> bool {
        self.answers() && self.back_at.borrow().is_none_or(|at| at.elapsed() >= NO_SCAN)
    }

    /// Records a failed statement. An outage is logged once, and again when the reason changes: for example when an unreachable
    /// server comes back with a full disk.
    pub fn begins(&self, e: &LedgerError) {
        if !e.is_outage() {
            // Not an outage. The row stays unchanged until its lease expires.
            tracing::error!(reason = %e, "the ledger refuses a statement");
            return;
        }
        let news = |away: &mut Option<LedgerError>| {
            let news = away.as_ref().is_none_or(|before| !is_the_same(before, e));
            if news {
                *away = Some(e.clone());
            }
            news
        };
        if self.away.send_if_modified(news) {
            tracing::warn!(reason = %e, "the ledger is away: no job is taken in until it answers");
        }
    }

    /// Checks the ledger during an outage until it answers. Runs until the process ends.
    pub async fn watch_over(&self, ledger: &Ledger) {
        let mut away = self.away.subscribe();
        loop {
            if away.wait_for(Option::is_some).await.is_err() {
                return;
            }
            tokio::time::sleep(RETRY_EVERY).await;
            match ledger.check().await {
                Ok(_) => {
                    tracing::info!("the ledger answers again");
                    self.back_at.send_replace(Some(Instant::now()));
                    self.away.send_replace(None);
                }
                Err(e) if e.is_outage() => self.begins(&e),
                Err(_) => {}
            }
        }
    }

    /// Waits until the ledger answers.
    pub async fn over(&self) {
        let _ = self.away.subscribe().wait_for(Option::is_none).await;
    }
}

/// Whether two outages have the same reason. The text of `Away` does not count, because it changes from second to second.
fn is_the_same(a: &LedgerError, b: &LedgerError) -> bool {
    match (a, b) {
        (LedgerError::Away(_), LedgerError::Away(_)) => true,
        (LedgerError::Unwritable(a), LedgerError::Unwritable(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::LedgerHealth;
    use crate::ledger::LedgerError;

    /// Fails when the first reason is kept: a server with a full disk would be reported as "does not answer".
    #[test]
    fn the_reason_is_that_of_now_and_a_change_is_told_once() {
        let outage = LedgerHealth::new();
        let mut told = outage.watch();
        let mut says = |e: LedgerError| {
            outage.begins(&e);
            let news = told.has_changed().unwrap();
            told.mark_unchanged();
            (outage.why().map(|e| e.to_string()), news)
        };
        let away = |why: &str| LedgerError::Away(why.to_owned());
        assert_eq!(
            says(away("no connection")),
            (Some("the ledger does not answer (no connection)".to_owned()), true)
        );
        assert!(!says(away("no answer")).1, "that is no news");
        assert_eq!(says(LedgerError::Unwritable("no room")), (Some("no room".to_owned()), true));
        assert!(!says(LedgerError::Unwritable("no room")).1);
        assert!(says(away("no connection")).1);
        let data = LedgerError::Data { sqlstate: "22003".to_owned(), constraint: None };
        assert!(!says(data).1, "one row's trouble is no outage");
    }
}
