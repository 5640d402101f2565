//! What a delivery costs beside processor time: statements, round trips and write-ahead log, in a run of its own through a relay that
//! counts; and allocations, as the difference of two runs with glibc's library that counts them (libmemusage).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use uuid::Uuid;

use crate::bench::Bench;
use crate::drain::{check, drain_at};
use crate::jobs::{self, Batch};
use crate::ledger;
use crate::processes::Process;
use crate::relay::Relay;
use crate::results::{Note, Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;
use crate::worker::Worker;

/// The case of this section.
const CASE: &str = "0 rows";
/// Counts allocations and prints the totals at the end of the process. Of the package libc-devtools. valgrind cannot run otpost: the
/// crate rustix reads the real addresses of the kernel's shared object, which valgrind hides.
const COUNTER: &str = "/usr/lib/x86_64-linux-gnu/libmemusage.so";

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for subject in bench.turns(&[Subject::HONEST, Subject::OTPOST]) {
        bench.idle().await?;
        results.add(Section::Cost, statements(bench, subject).await?);
    }
    if Path::new(COUNTER).exists() {
        results.add(Section::Cost, allocations(bench).await?);
    } else {
        let text =
            format!("allocations are not counted, because {COUNTER} is missing: install libc-devtools");
        results.skipped.push(Note { section: Section::Cost, text });
    }
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
    command.env("LD_PRELOAD", COUNTER).stderr(std::fs::File::create(&log)?);
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
    totals(&text).with_context(|| format!("the totals of {COUNTER} cannot be read: {text}"))
}

/// Reads the lines `malloc| calls bytes failed`, and those of `realloc` and `calloc`, without their colours.
fn totals(text: &str) -> Option<Allocated> {
    let mut total = Allocated { blocks: 0, bytes: 0 };
    for name in [" malloc|", "realloc|", " calloc|"] {
        let (_, rest) = text.lines().find_map(|line| line.split_once(name))?;
        let mut numbers = rest.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        total.blocks += numbers.next()?;
        total.bytes += numbers.next()?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::totals;

    #[test]
    fn the_totals_of_all_kinds_of_allocation_are_added() {
        let text = "\u{1b}[00;34m malloc|\u{1b}[0m        358          99406              0\u{1b}[00;00m\n\
                    \u{1b}[00;34mrealloc|\u{1b}[0m         11          24384              0\u{1b}[00;00m  (nomove:3, dec:0, free:0)\n\
                    \u{1b}[00;34m calloc|\u{1b}[0m          1            152              0\u{1b}[00;00m\n\
                    \u{1b}[00;34m   free|\u{1b}[0m        350         122774\n";
        let total = totals(text).expect("they are there");
        assert_eq!((total.blocks, total.bytes), (370, 123_942));
        assert!(totals("Segmentation fault").is_none());
    }
}
