//! How fast otpost drains a queue, beside two hand-written workers: the floors. `scripts/bench` calls this.
//!
//! A measurement makes a schema and queues of its own, fills the ledger if asked to, publishes the jobs (`jobs`), starts
//! the stand-in for a carrier (`carrier`) and one worker (`floor`, `otpost`), each in a process of its own, and waits
//! until everything is done (`measure`). Its figures are one line of JSON; `report` makes the table of many of them.

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
#[command(name = "benches", about = "How fast otpost drains a queue, beside hand-written workers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Be the carrier: take Twilio's create calls and say yes; send no receipts. Prints its port
    Carrier(carrier::Options),
    /// Publish jobs to the exchange `otpost`, persistent and confirmed; the topology must be there
    Preload {
        #[command(flatten)]
        place: Place,
        /// How many
        #[arg(long, default_value_t = 20_000)]
        jobs: usize,
    },
    /// Measure a hand-written worker
    Floor {
        /// Which one
        #[arg(value_enum)]
        floor: Floor,
        /// Jobs under way at once
        #[arg(long, default_value_t = floor::SLOTS)]
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
    /// Make a table of measurements, one line of JSON each, from standard input
    Report(report::Options),
    /// Drop what a run that was broken off left in the ledger
    Sweep(Place),
    /// Be a hand-written worker (started by `floor`)
    #[command(hide = true)]
    Work(floor::Options),
}

fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    // The stand-in is one thread: it is to take little of a machine that the worker shares with it.
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
