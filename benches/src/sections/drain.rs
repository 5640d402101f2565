//! Deliveries per second: otpost beside two hand-written workers, and beside Kannel and a Node worker.

use crate::bench::Bench;
use crate::drain::drain;
use crate::fill::fill;
use crate::hand_written::HandWritten;
use crate::kannel::{self, Store};
use crate::results::Results;
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;

/// The case of an empty ledger.
pub(crate) const EMPTY: &str = "0 rows";

#[derive(Clone, Copy)]
enum Turn {
    /// A worker, and old rows in its ledger.
    Queue(Subject, usize),
    Kannel(Store),
}

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    let mut turns = vec![Turn::Queue(Subject::HandWritten(HandWritten::Simple), 0)];
    if bench.scale.peers {
        turns.extend([Turn::Queue(Subject::Node, 0), Turn::Kannel(Store::None), Turn::Kannel(Store::Spool)]);
    }
    turns.extend([Turn::Queue(Subject::REFERENCE, 0), Turn::Queue(Subject::OTPOST, 0)]);
    let rows = bench.scale.rows;
    turns.extend([Turn::Queue(Subject::REFERENCE, rows), Turn::Queue(Subject::OTPOST, rows)]);
    for turn in bench.turns(&turns) {
        bench.idle().await?;
        let sample = match turn {
            Turn::Queue(subject, rows) => {
                let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
                if let Some(tables) = subject.schema() {
                    setup.client.batch_execute(tables).await?;
                }
                fill(&setup, subject, rows).await?;
                let figures = drain(&setup, subject, bench.scale.jobs, bench.scale.quiet).await?;
                figures.sample(subject.name(), format!("{rows} rows"))
            }
            Turn::Kannel(store) => kannel::drain(bench, store).await?.sample(store.name(), EMPTY),
        };
        results.add(Section::Drain, sample);
    }
    Ok(())
}

/// Returns otpost's rate with an empty ledger, measured now if no earlier section has measured it.
pub(crate) async fn rate(bench: &Bench, results: &Results) -> anyhow::Result<f64> {
    let name = Subject::OTPOST.name();
    if let Some(rate) = results.median(Section::Drain, name, EMPTY, "deliveries_per_s") {
        return Ok(rate);
    }
    let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
    Ok(drain(&setup, Subject::OTPOST, bench.scale.jobs, bench.scale.quiet).await?.per_s())
}
