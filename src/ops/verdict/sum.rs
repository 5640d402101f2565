//! Trials and failures beside the expected failures: whether a rate has risen, and how certain that is.

use super::{Symptom, Tally};

/// A finding needs a rate that is this many times the usual one. Smaller changes happen every night.
const MIN_FACTOR: f64 = 2.0;
/// A finding needs this many failures.
const MIN_FAILED: u64 = 6;

/// A finding needs a rate that is higher than the usual one by this much. Whether users enter their codes depends on more than delivery.
fn min_rise(symptom: Symptom) -> f64 {
    if symptom == Symptom::Unverified { 0.3 } else { 0.15 }
}

/// Trials, failures and expected failures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) tally: Tally,
    expected: f64,
}

impl Sum {
    pub(super) fn add(&mut self, tally: Tally, usual: f64) {
        self.tally.add(tally);
        self.expected += tally.all as f64 * usual;
    }

    pub(super) fn join(&mut self, other: Self) {
        self.tally.add(other.tally);
        self.expected += other.expected;
    }

    pub(super) fn usual(self) -> f64 {
        if self.tally.all == 0 { 0.0 } else { self.expected / self.tally.all as f64 }
    }

    pub(super) fn is_risen(self, symptom: Symptom) -> bool {
        self.tally.failed >= MIN_FAILED && self.has_risen_rate(symptom)
    }

    /// Whether the rate has risen, however few the failures are.
    pub(super) fn has_risen_rate(self, symptom: Symptom) -> bool {
        let (rate, usual) = (self.tally.rate(), self.usual());
        rate >= usual + min_rise(symptom) && rate >= usual * MIN_FACTOR
    }

    /// The logarithm of the likelihood ratio.
    pub(super) fn certainty(self) -> f64 {
        let (rate, usual) = (self.tally.rate(), self.usual().clamp(0.001, 0.999));
        let part = |now: f64, before: f64| if now <= 0.0 { 0.0 } else { now * (now / before).ln() };
        self.tally.all as f64 * (part(rate, usual) + part(1.0 - rate, 1.0 - usual))
    }
}
