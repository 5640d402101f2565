//! What follows from the facts that this process commits about attempts: counts, failures, metrics and traces.

use std::sync::{Arc, Weak};

use super::measuring::count_fact;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::ops::delivery_counter::DeliveryCounter;
use crate::ops::failures::FailureCounter;
use crate::ops::metrics::Metrics;
use crate::ops::traces::Tracer;

#[derive(Clone)]
pub(super) struct Observers {
    pub(super) counter: Arc<DeliveryCounter>,
    pub(super) failures: Arc<FailureCounter>,
    /// The metrics keep the ledger, so the ledger must not keep the metrics.
    metrics: Weak<Metrics>,
    /// `None` if no endpoint for traces is configured.
    pub(super) tracer: Option<Arc<Tracer>>,
}

impl Observers {
    /// Starts the export of traces, if an endpoint is configured.
    pub(super) fn new(config: &Config, process: &str, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let start = |url: &String| Tracer::start(url, config.traces.sample, process);
        let tracer = config.traces.otlp_url.as_ref().map(start).transpose();
        let tracer = tracer.map_err(|e| anyhow::anyhow!("traces.otlp_url cannot be used: {e}"))?;
        let (metrics, tracer) = (Arc::downgrade(metrics), tracer.map(Arc::new));
        Ok(Self { counter: Arc::default(), failures: Arc::default(), metrics, tracer })
    }

    /// Observes a ledger.
    pub(super) fn observe(&self, ledger: &Ledger) {
        let observers = self.clone();
        ledger.observe(Box::new(move |fact| {
            observers.counter.count(fact);
            observers.failures.count(fact);
            if let Some(metrics) = observers.metrics.upgrade() {
                count_fact(&metrics, fact);
            }
            if let Some(tracer) = &observers.tracer {
                tracer.trace(fact);
            }
        }));
    }
}
