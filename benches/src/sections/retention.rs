//! The deletion of old dispatches, in the steps of a worker: on a quiet ledger, and while a snapshot is open.

use std::time::Instant;

use anyhow::{anyhow, ensure};
use otpost::domain::clock::now;
use otpost::ledger::{Location, Options};

use crate::bench::Bench;
use crate::fill::fill;
use crate::ledger;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;

/// Dispatches that a worker deletes in one step.
const STEP: usize = 1000;

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for &rows in bench.scale.growth_rows.iter().filter(|rows| **rows > 0) {
        for has_snapshot in [false, true] {
            results.add(Section::Retention, purge(bench, rows, has_snapshot).await?);
        }
    }
    Ok(())
}

async fn purge(bench: &Bench, rows: usize, has_snapshot: bool) -> anyhow::Result<Sample> {
    let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
    fill(&setup, Subject::OTPOST, rows).await?;
    setup.client.batch_execute("vacuum analyze dispatch").await?;
    ledger::settle(&setup.client).await?;
    bench.idle().await?;

    let mut reader = ledger::connect(&bench.place.ledger_url()).await?;
    let snapshot = reader.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let snapshot = snapshot.start().await?;
    if has_snapshot {
        snapshot.query("select 1", &[]).await?;
    }
    let location: Location = bench.place.ledger_url().parse().map_err(|e| anyhow!("{e}"))?;
    let old = otpost::ledger::open(&location, &Options::default())?;
    old.check().await?;
    let (began, mut steps, mut deleted) = (Instant::now(), vec![], 0);
    while deleted < rows {
        let step = Instant::now();
        let gone = old.purge(now(), STEP).await?;
        ensure!(gone > 0, "{deleted} of {rows} old dispatches were deleted");
        deleted += gone as usize;
        steps.push(step.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = began.elapsed().as_secs_f64();
    snapshot.rollback().await?;
    let last = steps[steps.len() - 1];
    steps.sort_by(f64::total_cmp);
    let state = if has_snapshot { "under an open snapshot" } else { "nobody else reads" };
    Ok(Sample::new(Subject::OTPOST.name(), format!("{rows} rows, {state}"))
        .with("deleted_per_s", rows as f64 / seconds)
        .with("step_ms", steps[steps.len() / 2])
        .with("last_step_ms", last)
        .with("slowest_step_ms", steps[steps.len() - 1]))
}
