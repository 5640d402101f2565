//! Latency at fixed rates, from the scheduled publication of a job to its request at the carrier. The publisher never waits for the
//! worker, and a late job keeps its scheduled time, so a pause counts for every job that it delays.

use anyhow::{Context, ensure};
use jiff::Timestamp;
use uuid::Uuid;

use super::drain;
use crate::bench::Bench;
use crate::drain::check;
use crate::jobs::{self, Batch};
use crate::ledger;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;

/// Jobs that are drained before, so that connections and plans exist.
const WARM_UP: usize = 200;

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    let mut cases = vec![];
    for rate in &bench.scale.rates {
        let (rate, case) = if let Some(rate) = rate {
            (*rate, case(*rate))
        } else {
            (drain::rate(bench, results).await? / 2.0, "half of the drain".to_owned())
        };
        cases.extend([(Subject::REFERENCE, rate, case.clone()), (Subject::OTPOST, rate, case)]);
    }
    let turns: Vec<usize> = (0..cases.len()).collect();
    for turn in bench.turns(&turns) {
        let (subject, rate, case) = &cases[turn];
        bench.idle().await?;
        let sample = at_rate(bench, *subject, *rate, case).await?;
        results.add(Section::Latency, sample);
    }
    Ok(())
}

/// Returns the name of a case.
pub(crate) fn case(rate: f64) -> String {
    format!("{rate:.0}/s")
}

async fn at_rate(bench: &Bench, subject: Subject, rate: f64, case: &str) -> anyhow::Result<Sample> {
    let setup = Setup::fresh(&bench.place, StandIn::recording()?).await?;
    if let Some(tables) = subject.schema() {
        setup.client.batch_execute(tables).await?;
    }
    ledger::settle(&setup.client).await?;
    let batch = Batch::new((rate * bench.scale.seconds) as usize);
    let jobs = WARM_UP + batch.jobs;
    let since = Uuid::now_v7();
    let mut worker = subject.start(jobs, &setup)?;
    jobs::preload(&bench.place, &Batch::new(WARM_UP)).await?;
    worker.until(async |_| Ok(setup.carrier.count().await?.requests >= WARM_UP)).await?;
    tokio::time::sleep(bench.scale.quiet).await;

    let schedule = jobs::publish_at(&bench.place, batch, rate).await?;
    worker
        .until(async |worker| match subject {
            Subject::Otpost(_) => Ok(setup.carrier.count().await?.requests >= jobs
                && ledger::at_rest(&setup.client, since).await?),
            Subject::HandWritten(_) | Subject::Node => Ok(worker.is_done()),
        })
        .await?;
    let mut late = latencies(&setup, &batch, &schedule).await?;
    tokio::time::sleep(bench.scale.quiet).await;
    drop(worker);
    check(&setup, subject, jobs, since).await?;

    late.sort_by(f64::total_cmp);
    let at = |share: f64| late[((late.len() as f64 * share).ceil() as usize).clamp(1, late.len()) - 1];
    Ok(Sample::new(subject.name(), case)
        .with("rate_per_s", rate)
        .with("p50_ms", at(0.5))
        .with("p95_ms", at(0.95))
        .with("p99_ms", at(0.99))
        .with("max_ms", at(1.0)))
}

/// Returns the latency of each job in milliseconds.
async fn latencies(setup: &Setup, batch: &Batch, schedule: &[Timestamp]) -> anyhow::Result<Vec<f64>> {
    let mut late = vec![None; batch.jobs];
    for request in setup.carrier.requests().await? {
        // The other requests are of the warm-up.
        if let Some(job) = batch.position(&request.number) {
            ensure!(late[job].is_none(), "a job was sent twice");
            late[job] = Some((request.at_us - schedule[job].as_microsecond()) as f64 / 1e3);
        }
    }
    late.into_iter().collect::<Option<_>>().context("a job was not sent")
}
