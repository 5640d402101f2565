//! Reports on the ledger's transactions, for metrics.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::LedgerError;

/// Gets a report of each transaction. Its methods must not block.
pub trait Observer: Send + Sync {
    /// A group of items is written in one transaction.
    fn grouped(&self, operation: &'static str, items: usize);
    /// A transaction has ended, with success or not. The time includes the wait for a connection.
    fn ended(&self, operation: &'static str, time: Duration);
    /// A transaction is run again after this error.
    fn retried(&self, operation: &'static str, error: &LedgerError);
    /// An operation has failed for good. All items of its group get the error.
    fn failed(&self, operation: &'static str, error: &LedgerError);
}

/// The observer of a ledger, once it is set. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Observed(Arc<OnceLock<Arc<dyn Observer>>>);

impl Observed {
    /// Sets the observer. Later calls change nothing.
    pub(super) fn set(&self, observer: Arc<dyn Observer>) {
        let _ = self.0.set(observer);
    }

    /// Reports to the observer, if there is one.
    pub(super) fn report(&self, report: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = self.0.get() {
            report(&**observer);
        }
    }
}
