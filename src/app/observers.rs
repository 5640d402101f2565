//! What follows from the facts that this process commits about attempts: counts, error codes and traces.

use std::sync::Arc;

use crate::config::Config;
use crate::ledger::Ledger;
use crate::ops::delivery_counter::DeliveryCounter;
use crate::ops::failure_codes::FailureCodes;
use crate::ops::traces::Tracer;

#[derive(Clone)]
pub(super) struct Observers {
    pub(super) counter: Arc<DeliveryCounter>,
    pub(super) codes: Arc<FailureCodes>,
    /// `None` if no endpoint for traces is configured.
    pub(super) tracer: Option<Arc<Tracer>>,
}

impl Observers {
    /// Starts the export of traces, if an endpoint is configured.
    pub(super) fn new(config: &Config, process: &str) -> anyhow::Result<Self> {
        let start = |url: &String| Tracer::start(url, config.traces.sample, process);
        let tracer = config.traces.otlp_url.as_ref().map(start).transpose();
        let tracer = tracer.map_err(|e| anyhow::anyhow!("traces.otlp_url cannot be used: {e}"))?;
        Ok(Self { counter: Arc::default(), codes: Arc::default(), tracer: tracer.map(Arc::new) })
    }

    /// Observes a ledger.
    pub(super) fn observe(&self, ledger: &Ledger) {
        let observers = self.clone();
        ledger.observe(Box::new(move |fact| {
            observers.counter.count(fact);
            observers.codes.count(fact);
            if let Some(tracer) = &observers.tracer {
                tracer.trace(fact);
            }
        }));
    }
}
