//! Prometheus metrics. Labels are closed sets of words, names from the configuration, or ISO codes, never values of a job.
//!
//! Each file has the metrics of one part of otpost. A part counts each fact once, where it is decided. States that change by themselves,
//! such as circuit breakers, are set when `/metrics` is read ([`Metrics::on_scrape`]).

mod bounded;
mod broker;
mod catalogue;
mod delivery;
mod exposition;
mod intake;
mod labels;
mod ledger;
mod outbox;
mod process;
mod receipts;
mod routing;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

pub use bounded::MAX_SERIES;
pub use broker::BrokerMetrics;
pub use catalogue::{Described, Kind, catalogue};
pub use delivery::DeliveryMetrics;
pub use exposition::Format;
pub use intake::{IntakeMetrics, OLD_JOB};
pub use ledger::{LedgerMetrics, SLOW_TRANSACTION};
pub use outbox::OutboxMetrics;
pub use process::ProcessMetrics;
pub use receipts::ReceiptMetrics;
pub use routing::{BreakerState, RoutingMetrics};

/// Sets metrics to the current state of a part.
type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    refreshes: Mutex<Vec<Refresh>>,
    /// Jobs and acts as they come in.
    pub intake: IntakeMetrics,
    /// Dispatches and attempts.
    pub delivery: DeliveryMetrics,
    /// Callbacks of carriers, and verified codes.
    pub receipts: ReceiptMetrics,
    /// Circuit breakers and rate limits.
    pub routing: RoutingMetrics,
    /// Queues and connections of RabbitMQ.
    pub broker: BrokerMetrics,
    /// Published events, and what waits in the ledger.
    pub outbox: OutboxMetrics,
    /// The ledger as this process sees it.
    pub ledger: LedgerMetrics,
    /// The process itself.
    pub process: ProcessMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let names = Arc::default();
        let mut registry = Registry::with_prefix("otpost");
        let r = &mut registry;
        Self {
            refreshes: Mutex::default(),
            intake: IntakeMetrics::new(&names, r),
            delivery: DeliveryMetrics::new(&names, r),
            receipts: ReceiptMetrics::new(&names, r),
            routing: RoutingMetrics::new(&names, r),
            broker: BrokerMetrics::new(&names, r),
            outbox: OutboxMetrics::new(&names, r),
            ledger: LedgerMetrics::new(&names, r),
            process: ProcessMetrics::new(&names, r),
            registry,
        }
    }
}

impl Metrics {
    /// Adds a function that sets metrics whenever they are read. It must not block.
    pub fn on_scrape(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        self.refreshes.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// All metrics as text.
    pub fn text(&self, format: Format) -> String {
        // Two scrapes at once would see each other's half-set series.
        let refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        for refresh in &*refreshes {
            refresh(self);
        }
        format.text(&self.registry)
    }
}

#[cfg(test)]
mod tests;
