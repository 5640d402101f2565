//! Measures how fast otpost drains a queue, compared with two hand-written workers: the floors.
//! `scripts/bench` calls this.
//!
//! A measurement creates its own schema and queues, fills the ledger if requested, and publishes the jobs
//! (`jobs`). Then it starts the stand-in for a carrier (`carrier`) and one worker (`floor`, `otpost`) as
//! separate processes, and waits until all is done (`measure`). Its figures are one line of JSON; `report`
//! makes a table of many lines.

mod backlog;
mod broker;
mod carrier;
mod costs;
mod floor;
mod jobs;
mod ledger;
mod measure;
mod otpost;
mod place;
mod processes;
mod report;
mod standin;
mod two_step;

use clap::{Parser, Subcommand};

use floor::Floor;
use measure::Subject;
use place::Place;

#[derive(Parser)]
#[command(
    name = "benches",
    about = "Measures how fast otpost drains a queue, compared with hand-written workers"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the stand-in for the carrier: accepts Twilio's create requests and sends no receipts. Prints its
    /// port
    Carrier(carrier::Options),
    /// Publish jobs to the exchange `otpost`, persistent and confirmed; the topology must exist
    Preload {
        #[command(flatten)]
        place: Place,
        /// Number of jobs
        #[arg(long, default_value_t = 20_000)]
        jobs: usize,
    },
    /// Measure a hand-written worker
    Floor {
        /// The worker
        #[arg(value_enum)]
        floor: Floor,
        /// Number of parallel jobs
        #[arg(long, default_value_t = floor::PARALLEL_JOBS)]
        slots: usize,
        #[command(flatten)]
        options: measure::Options,
    },
    /// Measure the binary `otpost serve --roles worker`
    Otpost(measure::Options),
    /// Measure otpost's memory while jobs wait
    Backlog(backlog::Options),
    /// Measure `two-step serve`: challenges verified, and claims of trusted devices
    TwoStep(two_step::Options),
    /// Print a table of measurements; reads one line of JSON per measurement from standard input
    Report(report::Options),
    /// Drop the schema of an aborted run
    Sweep(Place),
    /// Run a hand-written worker (started by `floor`)
    #[command(hide = true)]
    Work(floor::Options),
}

fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    // The stand-in has one thread, so that it uses little of the machine that it shares with the worker.
    let mut threads = match command {
        Command::Carrier(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    threads.enable_all().build()?.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Carrier(options) => carrier::serve(options).await,
        Command::Preload { place, jobs } => jobs::preload(&place, jobs).await,
        Command::Floor { floor, slots, options } => {
            measure::print(Subject::Floor { floor, slots }, options).await
        }
        Command::Otpost(options) => measure::print(Subject::Otpost, options).await,
        Command::Backlog(options) => backlog::print(options).await,
        Command::TwoStep(options) => two_step::print(options).await,
        Command::Report(options) => report::print(&options),
        Command::Sweep(place) => ledger::sweep(&place).await,
        Command::Work(options) => floor::work(options).await,
    }
}
