//! Reports circuit breakers that open or close.

use super::Worker;
use crate::delivery::routing::BreakerChanges;

impl Worker {
    /// Logs and counts the circuit breakers of a carrier that have opened or closed.
    pub(super) fn report_breakers(&self, carrier: &str, changes: &BreakerChanges) {
        for change in &changes.0 {
            let (channel, country) = (change.channel.as_str(), change.country.as_deref());
            if change.opened {
                self.deps.metrics.routing.count_opened(carrier, change.channel);
                tracing::warn!(
                    carrier,
                    channel,
                    country,
                    "circuit breaker opened: the carrier gets single requests until it accepts one"
                );
            } else {
                tracing::info!(
                    carrier,
                    channel,
                    country,
                    "circuit breaker closed: the carrier is used again"
                );
            }
        }
    }
}
