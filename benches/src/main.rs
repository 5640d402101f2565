//! Measures otpost: how fast it drains a queue beside other workers, its latency, its costs, and more. `scripts/bench` calls this.
//!
//! A run (`run`) measures sections (`section`, `sections`). Most measurements prepare a schema, queues and a stand-in for a carrier
//! (`setup`), publish jobs (`jobs`), start a worker as a separate process (`subject`), wait until all is done, and check the work
//! (`drain`). The samples become rows with medians (`results`), tables (`report`) and limits that are met or missed (`bars`).

mod bars;
mod bench;
mod broker;
mod carrier;
mod costs;
mod drain;
mod fill;
mod hand_written;
mod jobs;
mod kannel;
mod keep_alive;
mod ledger;
mod machine;
mod otpost;
mod place;
mod processes;
mod relay;
mod report;
mod results;
mod run;
mod section;
mod sections;
mod setup;
mod standin;
mod subject;
mod two_step;
mod worker;

use clap::{Parser, Subcommand};

use place::Place;

/// The hand-written workers use the same allocator as otpost.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "benches", about = "Measures otpost, compared with other workers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure sections of the benchmark, and print tables
    Run(run::Options),
    /// Run the mock carrier: accepts requests to send a text, and sends no receipts. Prints its port
    Carrier(carrier::Options),
    /// Measure `two-step serve`: challenges verified, and claims of trusted devices
    TwoStep(two_step::Options),
    /// Drop the schemas of an aborted run
    Sweep(Place),
    /// Run a hand-written worker (started by `run`)
    #[command(hide = true)]
    Work(hand_written::Options),
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
        Command::Run(options) => run::until_stopped(options).await,
        Command::Carrier(options) => carrier::serve(options).await,
        Command::TwoStep(options) => two_step::print(options).await,
        Command::Sweep(place) => ledger::sweep(&place).await,
        Command::Work(options) => hand_written::work(options).await,
    }
}
