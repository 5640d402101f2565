//! Whether each role of a process is ready, and if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::starting::spawn_until;
use crate::broker::Broker;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::ops::Readiness;
use crate::worker::Worker;

/// A clock that is off by more than this makes a worker not ready, in seconds.
const CLOCK_TOLERANCE: f64 = 5.0;

pub(super) fn worker_ready(worker: Arc<Worker>, broker: Option<Broker>, metrics: Arc<Metrics>) -> Readiness {
    Arc::new(move || {
        if !worker.outage.answers() {
            return Some("the ledger does not answer".to_owned());
        }
        let ahead = metrics.clock_ahead.get();
        if ahead.abs() > CLOCK_TOLERANCE {
            return Some(format!(
                "this machine's clock is {ahead:.1} s ahead of the ledger's; is NTP running?"
            ));
        }
        let up = broker.as_ref()?.watch().borrow().clone();
        if up.publishing() && up.telling() && up.consuming() {
            return None;
        }
        Some(
            up.problem()
                .map_or_else(|| "RabbitMQ does not answer".to_owned(), std::string::ToString::to_string),
        )
    })
}

/// A role that is ready while the ledger answers; asked every two seconds.
pub(super) fn ledger_ready(tasks: &TaskTracker, shutdown: &CancellationToken, ledger: Ledger) -> Readiness {
    let answers = Arc::new(AtomicBool::new(true));
    let shown = Arc::clone(&answers);
    spawn_until(tasks, shutdown, async move {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        loop {
            tick.tick().await;
            answers.store(ledger.check().await.is_ok(), Ordering::Relaxed);
        }
    });
    Arc::new(move || {
        let well = shown.load(Ordering::Relaxed);
        (!well).then(|| "the ledger does not answer".to_owned())
    })
}
