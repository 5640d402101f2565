//! The readiness of each role.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::broker::Broker;
use crate::ledger::health::LedgerHealth;
use crate::ledger::{Ledger, LedgerError};
use crate::ops::Readiness;
use crate::ops::metrics::Metrics;

/// Maximum difference in seconds between this machine's clock and the ledger's. Above it the worker is not ready.
const CLOCK_TOLERANCE_S: f64 = 5.0;

/// Readiness of the worker.
pub(super) fn worker_ready(ledger: Readiness, broker: Option<Broker>, metrics: Arc<Metrics>) -> Readiness {
    Arc::new(move || {
        if let Some(why) = ledger() {
            return Some(why);
        }
        let ahead = metrics.process.clock_ahead();
        if ahead.abs() > CLOCK_TOLERANCE_S {
            return Some(format!(
                "this machine's clock is {ahead:.1} s ahead of the ledger's; is NTP running?"
            ));
        }
        let up = broker.as_ref()?.watch().borrow().clone();
        if up.publishing() && up.publishing_events() && up.consuming() {
            return None;
        }
        Some(
            up.problem()
                .map_or_else(|| "RabbitMQ does not answer".to_owned(), std::string::ToString::to_string),
        )
    })
}

/// Readiness of the ledger, and the task that checks the ledger every two seconds, because an idle process does not notice that writes
/// fail.
pub(super) fn ledger_ready(
    ledger: Ledger, health: Arc<LedgerHealth>,
) -> (Readiness, impl Future<Output = ()>) {
    let (result_sender, result) = watch::channel(None);
    let checks = async move {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        loop {
            tick.tick().await;
            // A slow ledger is no reason to send the work elsewhere.
            let problem = ledger.check().await.err().filter(|e| e.is_outage() || !e.is_temporary());
            result_sender.send_replace(problem.map(|e| public_text(&e)));
        }
    };
    (Arc::new(move || health.reason().map(|e| public_text(&e)).or_else(|| result.borrow().clone())), checks)
}

/// The public text of a ledger error. It leaves out the ledger's address, because `/readyz` needs no token. The log has it.
fn public_text(e: &LedgerError) -> String {
    match e {
        LedgerError::Unreachable(_) => "the ledger does not answer".to_owned(),
        e => e.to_string(),
    }
}
