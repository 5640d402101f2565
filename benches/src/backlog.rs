//! otpost's memory during a long queue: the worker must hold its prefetch, and not the queue.

use anyhow::ensure;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::broker;
use crate::jobs;
use crate::ledger;
use crate::measure::{ready, until};
use crate::otpost::Otpost;
use crate::place::Place;
use crate::standin::StandIn;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Number of jobs that still wait when the memory is read
    #[arg(long, default_value_t = 100_000)]
    waiting: usize,
    /// Number of jobs that are sent before that
    #[arg(long, default_value_t = 20_000)]
    drained: usize,
}

/// The result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Backlog {
    /// Jobs in the queue at the start.
    pub(crate) preloaded: usize,
    /// Jobs that still waited when the memory was read.
    pub(crate) waiting: usize,
    /// Requests at the carrier at that time.
    pub(crate) sent: usize,
    /// Peak resident memory of the worker until then.
    pub(crate) peak_kib: u64,
}

/// Measures, and prints the result as one line.
pub(crate) async fn print(options: Options) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&measure(&options).await?)?);
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Backlog> {
    let Options { place, waiting, drained } = options;
    let client = ledger::connect(&place.ledger_url()).await?;
    let carrier = StandIn::start()?;
    let otpost = Otpost::new(place, &carrier.url())?;
    ready(&client, place, &otpost).await?;
    let preloaded = waiting + drained;
    jobs::preload(place, preloaded).await?;

    let connection = broker::connect(&place.amqp_url, "looking").await?;
    let mut worker = otpost.work()?;
    // The carrier's count is lower than the number of jobs that have left the queue.
    let enough = drained.saturating_sub(2 * 512);
    until(&mut worker, async || Ok(carrier.count().await?.requests >= enough)).await?;
    // In this order, so that at least this many jobs waited when the memory was read.
    let (peak_kib, sent) = (worker.peak_kib()?, carrier.count().await?.requests);
    let still = broker::waiting(&connection, broker::DISPATCH).await?;
    ensure!(still >= *waiting, "only {still} jobs waited when the memory was read");
    worker.stop()?;
    connection.close(200, "done".into()).await?;
    broker::delete_queues(&place.amqp_url).await?;
    ledger::sweep(place).await?;
    Ok(Backlog { preloaded, waiting: still, sent, peak_kib })
}
