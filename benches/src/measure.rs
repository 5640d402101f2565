//! One measurement: prepares the vhost and the schema, starts a worker, waits for its end, and checks the
//! figures.
//!
//! The clock runs from the start of the worker's process until all is done: every job sent, its outcome
//! written, its event confirmed, its delivery acknowledged.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::broker;
use crate::carrier::Count;
use crate::costs::Costs;
use crate::floor::{self, Floor};
use crate::jobs;
use crate::ledger;
use crate::otpost::Otpost;
use crate::place::Place;
use crate::processes::{self, Process};
use crate::standin::StandIn;

/// Pause between two checks for the end.
const LOOK: Duration = Duration::from_millis(20);
/// Time limit of a worker.
const TIME_LIMIT: Duration = Duration::from_mins(10);
/// Pause in which the servers write their data, before the clock starts and after it has stopped.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Number of jobs in the queue when the worker starts
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// Number of old finished jobs in the ledger
    #[arg(long, default_value_t = 0)]
    rows: usize,
}

/// The measured worker.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Floor { floor: Floor, slots: usize },
    Otpost,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Floor { floor: Floor::Bare, .. } => "bare floor",
            Self::Floor { floor: Floor::Honest, .. } => "honest floor",
            Self::Otpost => "otpost",
        }
    }
}

/// The result of a measurement. Processor times are totals over all jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) subject: String,
    pub(crate) jobs: usize,
    /// Old jobs in the ledger.
    pub(crate) rows: usize,
    pub(crate) seconds: f64,
    pub(crate) worker_cpu_us: u64,
    pub(crate) postgres_cpu_us: Option<u64>,
    pub(crate) rabbitmq_cpu_us: Option<u64>,
    pub(crate) carrier_cpu_us: u64,
    /// Processor time of other processes, and of the kernel itself.
    pub(crate) others_cpu_us: u64,
    pub(crate) processors: f64,
    pub(crate) peak_kib: u64,
}

/// Measures, and prints the figures as one line.
pub(crate) async fn print(subject: Subject, options: Options) -> anyhow::Result<()> {
    let Options { place, jobs, rows } = options;
    let client = ledger::connect(&place.ledger_url()).await?;
    let carrier = StandIn::start()?;
    let otpost = Otpost::new(&place, &carrier.url())?;
    ready(&client, &place, &otpost).await?;
    if let Subject::Floor { floor, .. } = subject {
        client.batch_execute(floor.schema()).await?;
    }
    if rows > 0 {
        ledger::fill(&client, subject, rows).await?;
    }
    jobs::preload(&place, jobs).await?;
    ledger::settle(&client).await?;
    tokio::time::sleep(QUIET).await;

    let before = Costs::now(&client, &place, &carrier).await?;
    let began = Instant::now();
    let mut worker = drain(subject, jobs, &place, &client, &otpost, &carrier).await?;
    let seconds = began.elapsed().as_secs_f64();
    let worker_cpu_us = worker.cpu_us()?;
    let cost = Costs::now(&client, &place, &carrier).await?.since(&before);
    let peak_kib = worker.peak_kib()?;
    tokio::time::sleep(QUIET).await;
    worker.lives()?;
    match subject {
        Subject::Otpost => worker.stop()?,
        Subject::Floor { .. } => drop(worker),
    }
    check(subject, jobs, &place, &client, &carrier).await?;
    ledger::sweep(&place).await?;

    let named = cost.postgres.unwrap_or(0) + cost.rabbitmq.unwrap_or(0) + cost.carrier + cost.own;
    let figures = Figures {
        subject: subject.name().to_owned(),
        jobs,
        rows,
        seconds,
        worker_cpu_us,
        postgres_cpu_us: cost.postgres,
        rabbitmq_cpu_us: cost.rabbitmq,
        carrier_cpu_us: cost.carrier,
        others_cpu_us: cost.machine.saturating_sub(worker_cpu_us + named),
        processors: processes::processors(),
        peak_kib,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// Prepares empty queues and an empty schema with otpost's tables. The floors read the same queue as otpost.
pub(crate) async fn ready(client: &Client, place: &Place, otpost: &Otpost) -> anyhow::Result<()> {
    broker::delete_queues(&place.amqp_url).await?;
    ledger::recreate_schema(client, place).await?;
    otpost.migrate()
}

/// Starts a worker and returns it when it has done all jobs.
async fn drain(
    subject: Subject, jobs: usize, place: &Place, client: &Client, otpost: &Otpost, carrier: &StandIn,
) -> anyhow::Result<Process> {
    match subject {
        // A floor acknowledges last, and prints a line.
        Subject::Floor { floor, slots } => {
            let (mut worker, done) = floor::start(floor, slots, jobs, place, carrier)?;
            until(&mut worker, async || Ok(done.is_finished())).await?;
            Ok(worker)
        }
        // otpost acknowledges after the admission. The last step is the removal of its published event.
        Subject::Otpost => {
            let since = Uuid::now_v7();
            let mut worker = otpost.work()?;
            let all =
                async || Ok(carrier.count().await?.requests >= jobs && ledger::at_rest(client, since).await?);
            until(&mut worker, all).await?;
            Ok(worker)
        }
    }
}

/// Waits until the condition holds. Fails if the worker ends.
pub(crate) async fn until(
    worker: &mut Process, so: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !so().await? {
        worker.lives()?;
        ensure!(began.elapsed() < TIME_LIMIT, "it took longer than {TIME_LIMIT:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Every job must be sent once, written as sent, and deleted from the queue. Otherwise the figures do not
/// count.
async fn check(
    subject: Subject, jobs: usize, place: &Place, client: &Client, carrier: &StandIn,
) -> anyhow::Result<()> {
    let asked = carrier.count().await?;
    ensure!(asked == Count { requests: jobs, numbers: jobs }, "the carrier got {asked:?}, not {jobs}");
    let sent = ledger::sent(client, subject).await?;
    ensure!(sent == jobs, "{sent} jobs were sent, not {jobs}");
    let connection = broker::connect(&place.amqp_url, "looking").await?;
    let left = broker::waiting(&connection, broker::DISPATCH).await?;
    ensure!(left == 0, "{left} jobs are left in the queue");
    connection.close(200, "done".into()).await?;
    Ok(())
}
