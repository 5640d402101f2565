//! One drain: publishes the jobs, starts a worker, waits for its end, and checks the work.
//!
//! The clock runs from the start of the worker's process until all is done: every job sent, its outcome
//! written, its event confirmed, its delivery acknowledged.

use std::time::{Duration, Instant};

use anyhow::ensure;
use uuid::Uuid;

use crate::broker;
use crate::costs::Costs;
use crate::jobs::{self, Batch};
use crate::ledger;
use crate::processes;
use crate::results::Sample;
use crate::setup::Setup;
use crate::subject::Subject;

/// The result of a drain. Processor times are totals over all jobs.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) jobs: usize,
    pub(crate) seconds: f64,
    pub(crate) worker_cpu_us: u64,
    pub(crate) peak_kib: u64,
    pub(crate) costs: Costs,
}

/// Measures a drain. `quiet` is a pause in which the servers write their data, before the clock starts and after it has stopped.
pub(crate) async fn drain(
    setup: &Setup, subject: Subject, jobs: usize, quiet: Duration,
) -> anyhow::Result<Figures> {
    let url = setup.place.ledger_url();
    drain_at(setup, subject, jobs, quiet, &url).await
}

/// The same, with a worker that reaches the ledger at another URL.
pub(crate) async fn drain_at(
    setup: &Setup, subject: Subject, jobs: usize, quiet: Duration, ledger_url: &str,
) -> anyhow::Result<Figures> {
    let Setup { place, client, carrier, .. } = setup;
    jobs::preload(place, &Batch::new(jobs)).await?;
    ledger::settle(client).await?;
    tokio::time::sleep(quiet).await;

    let since = Uuid::now_v7();
    let before = Costs::now(client, place, carrier).await?;
    let began = Instant::now();
    let mut worker = subject.start_at(jobs, setup, ledger_url)?;
    match subject {
        // otpost acknowledges after the admission. The last step is the removal of its published event.
        Subject::Otpost(_) => {
            let all = async |_: &_| {
                Ok(carrier.count().await?.requests >= jobs && ledger::at_rest(client, since).await?)
            };
            worker.until(all).await?;
        }
        // A hand-written worker acknowledges last, and prints a line.
        Subject::HandWritten(_) | Subject::Node => worker.until(async |worker| Ok(worker.is_done())).await?,
    }
    let seconds = began.elapsed().as_secs_f64();
    let worker_cpu_us = worker.cpu_us()?;
    let costs = Costs::now(client, place, carrier).await?.since(&before);
    let peak_kib = worker.peak_kib()?;
    tokio::time::sleep(quiet).await;
    worker.lives()?;
    match subject {
        Subject::Otpost(_) => worker.stop()?,
        Subject::HandWritten(_) | Subject::Node => drop(worker),
    }
    check(setup, subject, jobs, since).await?;
    Ok(Figures { jobs, seconds, worker_cpu_us, peak_kib, costs })
}

/// Every job must be sent once, written as sent, and deleted from the queue. Otherwise the figures do not count.
pub(crate) async fn check(setup: &Setup, subject: Subject, jobs: usize, since: Uuid) -> anyhow::Result<()> {
    setup.carrier.expect(jobs).await?;
    let sent = ledger::count(&setup.client, subject.sent_query(), &[&since]).await?;
    ensure!(sent == jobs, "{sent} jobs are written as sent, not {jobs}");
    let connection = broker::connect(&setup.place.amqp_url, "looking").await?;
    let left = broker::waiting(&connection, broker::DISPATCH).await?;
    ensure!(left == 0, "{left} jobs are left in the queue");
    connection.close(200, "done".into()).await?;
    Ok(())
}

impl Figures {
    pub(crate) fn per_s(&self) -> f64 {
        self.jobs as f64 / self.seconds
    }

    /// Returns the sample of a worker in a case.
    pub(crate) fn sample(&self, subject: impl Into<String>, case: impl Into<String>) -> Sample {
        let each = |total: u64| total as f64 / self.jobs as f64;
        let c = &self.costs;
        let known = c.postgres.unwrap_or(0) + c.rabbitmq.unwrap_or(0) + c.carrier + c.own;
        let others_us = c.machine.saturating_sub(self.worker_cpu_us + known);
        Sample::new(subject, case)
            .with("deliveries_per_s", self.per_s())
            .with("worker_cpu_us", each(self.worker_cpu_us))
            .with_known("postgres_cpu_us", c.postgres.map(each))
            .with_known("rabbitmq_cpu_us", c.rabbitmq.map(each))
            .with("carrier_cpu_us", each(c.carrier))
            .with_known("wal_bytes", c.wal_bytes.map(each))
            .with("peak_mb", self.peak_kib as f64 * 1024.0 / 1e6)
            .with("others_percent", 100.0 * others_us as f64 / 1e6 / (self.seconds * processes::processors()))
    }
}
