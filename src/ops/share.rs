//! How many of the latest events were bad.

use std::sync::atomic::{AtomicU64, Ordering};

use super::verdict::Tally;

/// Counts events until somebody takes the counts.
#[derive(Debug, Default)]
pub(super) struct Share {
    all: AtomicU64,
    bad: AtomicU64,
}

impl Share {
    /// Counts an event.
    pub(super) fn count(&self, is_bad: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        if is_bad {
            self.bad.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the counts since the last call. An event that is counted meanwhile may be bad in one and counted in the next.
    pub(super) fn take(&self) -> Tally {
        let failed = self.bad.swap(0, Ordering::Relaxed);
        Tally { all: self.all.swap(0, Ordering::Relaxed), failed }
    }
}
