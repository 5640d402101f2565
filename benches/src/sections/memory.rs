//! otpost's memory: at rest, with many slow requests, and with a long queue, of which it must hold its prefetch only.

use std::time::Duration;

use anyhow::ensure;
use uuid::Uuid;

use crate::bench::Bench;
use crate::broker;
use crate::drain::check;
use crate::jobs::{self, Batch};
use crate::ledger;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;
use crate::worker::Worker;

/// Concurrent requests of the case with a slow carrier.
const IN_FLIGHT: usize = 512;
/// Time until the slow carrier answers. All requests are sent in this time.
const SLOW: Duration = Duration::from_secs(5);
/// Jobs that are sent before the memory with a long queue is read, and the prefetch, which counts as sent.
const DRAINED: usize = 20_000;
const PREFETCH: usize = 512;

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for _ in 0..bench.scale.rounds {
        bench.idle().await?;
        results.add(Section::Memory, at_rest(bench).await?);
        results.add(Section::Memory, in_flight(bench).await?);
    }
    for waiting in &bench.scale.waiting {
        bench.idle().await?;
        results.add(Section::Memory, long_queue(bench, *waiting).await?);
    }
    Ok(())
}

fn sample(case: impl Into<String>, worker: &Worker) -> anyhow::Result<Sample> {
    let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
    let sample = Sample::new(Subject::OTPOST.name(), case);
    Ok(sample.with("resident_mb", mb(worker.resident_kib()?)).with("peak_mb", mb(worker.peak_kib()?)))
}

/// After one job: it has connected to everything.
async fn at_rest(bench: &Bench) -> anyhow::Result<Sample> {
    let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
    let since = Uuid::now_v7();
    jobs::preload(&bench.place, &Batch::new(1)).await?;
    let mut worker = Subject::OTPOST.start(1, &setup)?;
    worker.until(async |_| Ok(setup.carrier.count().await?.requests >= 1)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sample = sample("at rest", &worker)?;
    worker.stop()?;
    check(&setup, Subject::OTPOST, 1, since).await?;
    Ok(sample)
}

async fn in_flight(bench: &Bench) -> anyhow::Result<Sample> {
    let settings = format!("worker.slots = {IN_FLIGHT}");
    let setup = Setup::with_settings(&bench.place, StandIn::slow(SLOW)?, &settings).await?;
    let jobs = 2 * IN_FLIGHT;
    let since = Uuid::now_v7();
    jobs::preload(&bench.place, &Batch::new(jobs)).await?;
    let mut worker = Subject::OTPOST.start(jobs, &setup)?;
    worker.until(async |_| Ok(setup.carrier.count().await?.requests >= IN_FLIGHT)).await?;
    let sample = sample(format!("{IN_FLIGHT} requests in flight"), &worker)?;
    let sent = setup.carrier.count().await?.requests;
    ensure!(sent == IN_FLIGHT, "{sent} requests had been sent when the memory was read, not {IN_FLIGHT}");
    worker
        .until(async |_| {
            Ok(setup.carrier.count().await?.requests >= jobs && ledger::at_rest(&setup.client, since).await?)
        })
        .await?;
    worker.stop()?;
    check(&setup, Subject::OTPOST, jobs, since).await?;
    Ok(sample)
}

async fn long_queue(bench: &Bench, waiting: usize) -> anyhow::Result<Sample> {
    let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
    let drained = DRAINED.min(waiting);
    jobs::preload(&bench.place, &Batch::new(waiting + drained)).await?;
    let connection = broker::connect(&bench.place.amqp_url, "looking").await?;
    let mut worker = Subject::OTPOST.start(waiting + drained, &setup)?;
    // The carrier's count is lower than the number of jobs that have left the queue.
    let enough = drained.saturating_sub(2 * PREFETCH);
    worker.until(async |_| Ok(setup.carrier.count().await?.requests >= enough)).await?;
    let sample = sample(format!("{waiting} jobs waiting"), &worker)?;
    let still = broker::waiting(&connection, broker::DISPATCH).await?;
    ensure!(still >= waiting, "only {still} jobs waited when the memory was read");
    worker.stop()?;
    connection.close(200, "done".into()).await?;
    broker::delete_queues(&bench.place.amqp_url).await?;
    Ok(sample.with("waiting", still as f64))
}
