//! Health of the ledger. During an outage the process takes in no new work and keeps the work it holds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::clock;
use crate::ledger::{Ledger, LedgerError};

/// Time without scans after an outage. The workers first write the outcomes of finished attempts.
const NO_SCAN_AFTER_OUTAGE: Duration = Duration::from_secs(3);
/// Interval at which an unreachable ledger is checked.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the ledger, as this process knows it.
pub struct LedgerHealth {
    started_at: Instant,
    outage: watch::Sender<Option<LedgerError>>,
    recovered_at: watch::Sender<Option<Instant>>,
    last_outage: Mutex<Option<Outage>>,
}

/// An outage of the ledger, as this process noticed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When a statement failed first.
    pub begun_at: Timestamp,
    /// When the ledger answered again. `None`: it does not yet.
    pub ended_at: Option<Timestamp>,
}

impl LedgerHealth {
    /// Creates the healthy state.
    #[expect(clippy::new_without_default, reason = "a default would hide that it starts as healthy")]
    pub fn new() -> Self {
        Self {
            started_at: Instant::now(),
            outage: watch::Sender::new(None),
            recovered_at: watch::Sender::new(None),
            last_outage: Mutex::default(),
        }
    }

    /// Subscribes to the state: the reason of the outage, or `None` while the ledger answers.
    pub fn watch(&self) -> watch::Receiver<Option<LedgerError>> {
        self.outage.subscribe()
    }

    /// The reason of the current outage, or `None`.
    pub fn reason(&self) -> Option<LedgerError> {
        self.outage.borrow().clone()
    }

    /// The current outage, or else the last one.
    pub fn last_outage(&self) -> Option<Outage> {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.last_outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the ledger answers and accepts writes.
    pub fn is_healthy(&self) -> bool {
        self.outage.borrow().is_none()
    }

    /// Returns whether less than this time has passed since the end of the last outage, or since the start without an outage.
    pub fn has_recovered_within(&self, time: Duration) -> bool {
        self.recovered_at.borrow().unwrap_or(self.started_at).elapsed() < time
    }

    /// Returns whether less than this time has passed since the end of the last outage.
    pub fn has_ended_outage_within(&self, time: Duration) -> bool {
        self.recovered_at.borrow().is_some_and(|at| at.elapsed() < time)
    }

    /// Whether workers may scan for due work. False during an outage and for 3 s after it.
    pub fn may_scan(&self) -> bool {
        self.is_healthy() && self.recovered_at.borrow().is_none_or(|at| at.elapsed() >= NO_SCAN_AFTER_OUTAGE)
    }

    /// Records a failed statement. An outage is logged once, and again when the reason changes: for example when an unreachable
    /// server comes back with a full disk.
    pub fn report_failure(&self, e: &LedgerError) {
        if !e.is_outage() {
            if e.is_temporary() {
                tracing::warn!(reason = %e, "the ledger is overloaded: the statement is repeated later");
            } else {
                // The row stays unchanged until its lease expires.
                tracing::error!(reason = %e, "the ledger refuses a statement");
            }
            return;
        }
        let update = |outage: &mut Option<LedgerError>| {
            if outage.is_none() {
                *self.lock() = Some(Outage { begun_at: clock::now(), ended_at: None });
            }
            let changed = outage.as_ref().is_none_or(|before| !same_reason(before, e));
            if changed {
                *outage = Some(e.clone());
            }
            changed
        };
        if self.outage.send_if_modified(update) {
            tracing::warn!(reason = %e, "the ledger is unreachable or refuses writes: no job is accepted until it accepts writes again");
        }
    }

    /// During an outage, checks the ledger until it answers. Runs until the process ends.
    pub async fn poll_until_recovered(&self, ledger: &Ledger) {
        let mut outage = self.outage.subscribe();
        loop {
            if outage.wait_for(Option::is_some).await.is_err() {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            match ledger.check().await {
                Ok(_) => {
                    tracing::info!("the ledger answers again");
                    self.recovered_at.send_replace(Some(Instant::now()));
                    if let Some(outage) = self.lock().as_mut() {
                        outage.ended_at = Some(clock::now());
                    }
                    self.outage.send_replace(None);
                }
                Err(e) if e.is_outage() => self.report_failure(&e),
                Err(_) => {}
            }
        }
    }

    /// Waits until the ledger answers.
    pub async fn wait_until_healthy(&self) {
        let _ = self.outage.subscribe().wait_for(Option::is_none).await;
    }
}

/// Whether two outages have the same reason. The text of `Unreachable` does not count, because it changes from second to second.
fn same_reason(a: &LedgerError, b: &LedgerError) -> bool {
    match (a, b) {
        (LedgerError::Unreachable(_), LedgerError::Unreachable(_)) => true,
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
    fn the_reason_is_that_of_now_and_a_change_is_reported_once() {
        let health = LedgerHealth::new();
        let mut state = health.watch();
        let mut report = |e: LedgerError| {
            health.report_failure(&e);
            let reported = state.has_changed().unwrap();
            state.mark_unchanged();
            (health.reason().map(|e| e.to_string()), reported)
        };
        let unreachable = |why: &str| LedgerError::Unreachable(why.to_owned());
        assert_eq!(
            report(unreachable("no connection")),
            (Some("the ledger does not answer (no connection)".to_owned()), true)
        );
        assert!(!report(unreachable("no answer")).1, "that is no news");
        assert_eq!(report(LedgerError::Unwritable("no room")), (Some("no room".to_owned()), true));
        assert!(!report(LedgerError::Unwritable("no room")).1);
        assert!(report(unreachable("no connection")).1);
        let data = LedgerError::Data { sqlstate: "22003".to_owned(), constraint: None };
        assert!(!report(data).1, "refused data of one row is not an outage");
        let health = LedgerHealth::new();
        for e in [LedgerError::TooSlow("a statement"), LedgerError::NoConnection] {
            health.report_failure(&e);
            assert!(health.is_healthy() && e.is_temporary(), "{e}: slow is not away");
        }
    }
}
