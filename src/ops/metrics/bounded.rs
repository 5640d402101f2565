//! A family of metrics with a bound on its series.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Names, Overflowing};

/// Maximum number of series of a family. Events with further label sets are counted under `other`.
pub const MAX_SERIES: usize = 5_000;
/// Label sets that are kept free for `other`: more than all words of a family make together.
const RESERVED: usize = 32;

/// A family that is registered with Prometheus.
pub(super) type Series<L, M> = Family<L, M, fn() -> M>;

/// A family whose label sets are bounded.
#[derive(Debug)]
pub(super) struct Bounded<L: Clone + Hash + Eq, M> {
    family: Series<L, M>,
    names: Arc<Names>,
    max: usize,
    /// Number of label sets without `other`.
    known: Mutex<usize>,
}

impl<L: Clone + Hash + Eq> Bounded<L, Counter> {
    /// Creates a family of counters.
    pub(super) fn counters(names: &Arc<Names>) -> Self {
        Self::new(names, Counter::default, 1)
    }
}

impl<L: Clone + Hash + Eq> Bounded<L, Histogram> {
    /// Creates a family of histograms with this number of buckets.
    pub(super) fn histograms(names: &Arc<Names>, new: fn() -> Histogram, buckets: usize) -> Self {
        // The bucket of the largest values, the sum and the count.
        Self::new(names, new, buckets + 3)
    }
}

impl<L: Clone + Hash + Eq, M> Bounded<L, M> {
    pub(super) fn new(names: &Arc<Names>, new: fn() -> M, series_each: usize) -> Self {
        let max = (MAX_SERIES / series_each).saturating_sub(RESERVED);
        Self {
            family: Family::new_with_constructor(new),
            names: Arc::clone(names),
            max,
            known: Mutex::default(),
        }
    }

    /// The family, to register it.
    pub(super) fn family(&self) -> Series<L, M>
    where
        M: Clone,
    {
        self.family.clone()
    }
}

impl<L: Clone + Hash + Eq + Overflowing, M> Bounded<L, M> {
    /// Changes the metric with these labels. What `change` returns is dropped.
    pub(super) fn with<T>(&self, labels: &L, change: impl FnOnce(&M) -> T) {
        if let Some(metric) = self.family.get(labels) {
            change(&metric);
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = self.family.get(labels).is_none();
        if is_new && *known >= self.max {
            drop(known);
            change(&self.family.get_or_create(&labels.overflow(&self.names.other())));
            return;
        }
        *known += usize::from(is_new);
        change(&self.family.get_or_create(labels));
    }

    /// Removes all series.
    pub(super) fn clear(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.family.clear();
        *known = 0;
    }
}

/// Adds 1 to a counter.
pub(super) fn increment(counter: &Counter) {
    counter.inc();
}
