//! The share of recent events that were bad.

use std::sync::atomic::{AtomicU64, Ordering};

use super::verdict::Tally;

/// Counts events, and how many of them were bad, until [`Share::take`].
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

    /// Returns the counts since the last call. If a bad event is counted at the same time, its two counts may be in two results.
    pub(super) fn take(&self) -> Tally {
        let failed = self.bad.swap(0, Ordering::Relaxed);
        Tally { all: self.all.swap(0, Ordering::Relaxed), failed }
    }
}
