//! Deliveries per second with several worker processes, which share the queue and the ledger.

use crate::bench::Bench;
use crate::drain::drain;
use crate::results::Results;
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for processes in bench.turns(&[1, 2, 4]) {
        bench.idle().await?;
        let setup = Setup::fresh(&bench.place, StandIn::start()?).await?;
        let subject = Subject::Otpost(processes);
        let figures = drain(&setup, subject, bench.scale.jobs, bench.scale.quiet).await?;
        results.add(Section::Workers, figures.sample(subject.name(), format!("processes: {processes}")));
    }
    Ok(())
}
