//! Whether the ledger answers. While it does not, nothing new is taken in, and what is held is kept.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ledger::{Ledger, LedgerError};

/// After the ledger is back, finishes go first: no worker scans for this long.
const NO_SCAN: Duration = Duration::from_secs(3);
/// How often a ledger that is away is asked again.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The state of the ledger, as this process knows it.
pub struct LedgerHealth {
    away: watch::Sender<Option<LedgerError>>,
    back_at: watch::Sender<Option<Instant>>,
}

impl LedgerHealth {
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

    /// A statement failed: said once, until it is back or there is another reason, such as a server that answers again and has
    /// no room.
    pub fn begins(&self, e: &LedgerError) {
        if !e.is_outage() {
            // It is there. One row's trouble is no outage: the row is left to its lease.
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

    /// Asks a ledger that is away until it answers; ends with the process.
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

/// Whether two outages are one to whoever asks why: how exactly a server does not answer changes from second to second.
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

    /// Seen to fail: where the first reason stays (a server that answers and has no room "does not answer").
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
