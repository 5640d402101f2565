//! What a delivery costs beside processor time: statements, round trips and write-ahead log, in a run of its own through a relay that
//! counts; and allocations, as the difference of two runs whose allocator prints its totals.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use uuid::Uuid;

use crate::bench::Bench;
use crate::drain::{check, drain_at};
use crate::jobs::{self, Batch};
use crate::ledger;
use crate::processes::Process;
use crate::relay::Relay;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;
use crate::worker::Worker;

/// The case of this section.
const CASE: &str = "0 rows";
/// Makes jemalloc print its totals as JSON on standard error when the process ends, without those of each arena.
const PRINT_TOTALS: &str = "stats_print:true,stats_print_opts:Jdaxeh";

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for subject in bench.turns(&[Subject::REFERENCE, Subject::OTPOST]) {
        bench.idle().await?;
        results.add(Section::Cost, statements(bench, subject).await?);
    }
    results.add(Section::Cost, allocations(bench).await?);
    Ok(())
}

async fn statements(bench: &Bench, subject: Subject) -> anyhow::Result<Sample> {
    let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
    if let Some(tables) = subject.schema() {
        setup.client.batch_execute(tables).await?;
    }
    let relay = Relay::start(&bench.place.ledger_url()).await?;
    let figures = drain_at(&setup, subject, bench.scale.jobs, bench.scale.quiet, &relay.url).await?;
    let each = |count: u64| count as f64 / figures.jobs as f64;
    Ok(Sample::new(subject.name(), CASE)
        .with("statements", each(relay.statements()))
        .with("round_trips", each(relay.round_trips()))
        .with_known("wal_bytes", figures.costs.wal_bytes.map(each)))
}

/// Two runs with different numbers of jobs. What the start and the end allocate is in both, and falls out of the difference.
async fn allocations(bench: &Bench) -> anyhow::Result<Sample> {
    let [few, many] = bench.scale.allocation_jobs;
    let (fewer, more) = (allocated(bench, few).await?, allocated(bench, many).await?);
    let each = |more: u64, fewer: u64| more.saturating_sub(fewer) as f64 / (many - few) as f64;
    Ok(Sample::new(Subject::OTPOST.name(), CASE)
        .with("allocations", each(more.blocks, fewer.blocks))
        .with("allocated_bytes", each(more.bytes, fewer.bytes)))
}

/// The memory that a run has allocated.
struct Allocated {
    blocks: u64,
    bytes: u64,
}

async fn allocated(bench: &Bench, jobs: usize) -> anyhow::Result<Allocated> {
    let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
    let since = Uuid::now_v7();
    jobs::preload(&bench.place, &Batch::new(jobs)).await?;
    let log = std::env::temp_dir().join(format!("otpost-bench-allocations-{}", Uuid::new_v4()));
    let mut command = setup.otpost.command(&["serve", "--roles", "worker"]);
    command.env("_RJEM_MALLOC_CONF", PRINT_TOTALS).stderr(std::fs::File::create(&log)?);
    let mut worker = Worker::of(vec![Process::start("otpost", &mut command)?]);
    worker
        .until(async |_| {
            Ok(setup.carrier.count().await?.requests >= jobs && ledger::at_rest(&setup.client, since).await?)
        })
        .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.stop()?;
    let text = std::fs::read_to_string(&log)?;
    std::fs::remove_file(&log)?;
    check(&setup, Subject::OTPOST, jobs, since).await?;
    totals(&text).with_context(|| format!("the totals of the allocator cannot be read: {text}"))
}

/// Reads jemalloc's totals, which follow the log. They have no sizes of the blocks from 16 kB on, so only the number of these counts.
fn totals(text: &str) -> Option<Allocated> {
    let (before, _) = text.split_once("\"jemalloc\"")?;
    let all: Value = serde_json::from_str(&text[before.rfind('{')?..]).ok()?;
    let (sizes, merged) = (&all["jemalloc"]["arenas"]["bin"], &all["jemalloc"]["stats.arenas"]["merged"]);
    let mut total = Allocated { blocks: merged["large"]["nrequests"].as_u64()?, bytes: 0 };
    for (size, count) in sizes.as_array()?.iter().zip(merged["bins"].as_array()?) {
        let requests = count["nrequests"].as_u64()?;
        total.blocks += requests;
        total.bytes += requests * size["size"].as_u64()?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::totals;

    #[test]
    fn the_requests_of_all_sizes_are_added() {
        let text = r#"{"level":"WARN"}
            {"jemalloc": {
                "arenas": {"bin": [{"size": 8}, {"size": 16}]},
                "stats.arenas": {"merged": {
                    "large": {"nrequests": 1}, "bins": [{"nrequests": 3}, {"nrequests": 2}]
                }}
            }}
        "#;
        let total = totals(text).expect("they are there");
        assert_eq!((total.blocks, total.bytes), (6, 3 * 8 + 2 * 16));
        assert!(totals("Segmentation fault").is_none());
    }
}
