//! Milliseconds from the start of a process to its first request, with one job waiting.

use anyhow::Context;
use uuid::Uuid;

use crate::bench::Bench;
use crate::drain::check;
use crate::jobs::{self, Batch};
use crate::ledger;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;

/// The case of this section.
pub(crate) const CASE: &str = "one job waiting";

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    bench.idle().await?;
    for subject in bench.turns(&[Subject::REFERENCE, Subject::OTPOST]) {
        for _ in 0..bench.scale.starts {
            let sample = Sample::new(subject.name(), CASE)
                .with("first_request_ms", first_request_ms(bench, subject).await?);
            results.add(Section::Start, sample);
        }
    }
    Ok(())
}

async fn first_request_ms(bench: &Bench, subject: Subject) -> anyhow::Result<f64> {
    let setup = Setup::fresh(&bench.place, StandIn::recording()?).await?;
    if let Some(tables) = subject.schema() {
        setup.client.batch_execute(tables).await?;
    }
    jobs::preload(&bench.place, &Batch::new(1)).await?;
    tokio::time::sleep(bench.scale.quiet / 4).await;
    let since = Uuid::now_v7();
    let began = jobs::now();
    let mut worker = subject.start(1, &setup)?;
    let all = async |_: &_| {
        Ok(setup.carrier.count().await?.requests >= 1
            && ledger::count(&setup.client, subject.sent_query(), &[&since]).await? == 1)
    };
    worker.until(all).await?;
    tokio::time::sleep(bench.scale.quiet / 4).await;
    match subject {
        Subject::Otpost(_) => worker.stop()?,
        Subject::HandWritten(_) | Subject::Node => drop(worker),
    }
    check(&setup, subject, 1, since).await?;
    let requests = setup.carrier.requests().await?;
    let first = requests.first().context("no request was recorded")?;
    Ok((first.at_us - began.as_microsecond()) as f64 / 1e3)
}
