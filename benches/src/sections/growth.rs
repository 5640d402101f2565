//! Drains and scans with many old rows. Each ledger is filled once and drained in every round, in turns with an empty one. A scan is
//! one call of the ledger, as a worker makes it when nothing is due, with its round trips.

use std::time::Instant;

use anyhow::{anyhow, ensure};
use otpost::ledger::{Ledger, Location, Options, Receiver};

use crate::bench::Bench;
use crate::drain::drain;
use crate::fill::{fill, fill_quotas};
use crate::ledger;
use crate::place::Place;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;

/// How the empty ledger's cases begin. Each filled ledger is compared with the empty one of the same turns, because the machine's speed
/// changes during a run.
pub(crate) const EMPTY: &str = "0 rows, beside";
/// Scans of a case. The first ones prepare statements.
const SCANS: usize = 25;
const WARM_UP: usize = 5;
/// Dispatches that a worker's scan takes at most.
const TAKEN: usize = 128;
const EVENTS: usize = 200;

/// The case of the empty ledger that was drained in turns with a filled one.
pub(crate) fn empty_beside(case: &str) -> String {
    format!("{EMPTY} {case}")
}

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    let kept = bench.place.with_kept_schema();
    for &rows in &bench.scale.growth_rows {
        let filled = async |setup: &Setup| fill(setup, Subject::OTPOST, rows).await;
        one_ledger(bench, results, &kept, &format!("{rows} rows"), filled).await?;
    }
    let keys = bench.scale.quota_keys;
    let filled = async |setup: &Setup| fill_quotas(setup, keys).await;
    one_ledger(bench, results, &kept, &format!("{keys} quotas"), filled).await?;
    results.add(Section::Growth, under_snapshot(bench, &kept).await?);
    ledger::sweep(&bench.place).await
}

/// Measures a filled ledger, never analysed and then analysed, in turns with an empty one.
async fn one_ledger(
    bench: &Bench, results: &mut Results, kept: &Place, case: &str,
    filled: impl AsyncFn(&Setup) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let setup = Setup::fresh(kept, StandIn::start()?).await?;
    // Else the server analyzes them by itself after a minute.
    setup.client.batch_execute("alter table dispatch set (autovacuum_enabled = off); alter table quota set (autovacuum_enabled = off)").await?;
    let began = Instant::now();
    filled(&setup).await?;
    eprintln!("  filled with {case} in {:.0} s", began.elapsed().as_secs_f64());
    drop(setup);
    for state in ["fresh", "analysed"] {
        if state == "analysed" {
            let sql = "alter table dispatch reset (autovacuum_enabled); alter table quota reset (autovacuum_enabled)";
            let client = ledger::connect(&kept.ledger_url()).await?;
            client.batch_execute(sql).await?;
            client.batch_execute("vacuum analyze").await?;
        }
        for is_kept in bench.turns(&[false, true]) {
            bench.idle().await?;
            let carrier = StandIn::start()?;
            let setup = if is_kept {
                Setup::keeping_ledger(kept, carrier).await?
            } else {
                Setup::fresh(&bench.place, carrier).await?
            };
            let figures = drain(&setup, Subject::OTPOST, bench.scale.jobs, bench.scale.quiet).await?;
            let case = format!("{case}, {state}");
            let case = if is_kept { case } else { empty_beside(&case) };
            let sample = figures.sample(Subject::OTPOST.name(), case);
            results.add(Section::Growth, with_scans(sample, &setup.place).await?);
        }
    }
    Ok(())
}

/// Measures the scans after many dispatches have finished while a snapshot is open, as during a backup: their timers and events are
/// deleted, but their index entries stay.
async fn under_snapshot(bench: &Bench, kept: &Place) -> anyhow::Result<Sample> {
    // How many dispatches share a timer, in a drain.
    let setup = Setup::fresh(kept, StandIn::start()?).await?;
    drain(&setup, Subject::OTPOST, bench.scale.jobs, bench.scale.quiet).await?;
    let sql = "select greatest(1, sum(cardinality(uids)) / greatest(1, count(*)))::int8 from timer";
    let group = ledger::count(&setup.client, sql, &[]).await?;

    let setup = Setup::fresh(kept, StandIn::start()?).await?;
    let mut reader = ledger::connect(&kept.ledger_url()).await?;
    let snapshot = reader.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let snapshot = snapshot.start().await?;
    snapshot.query("select count(*) from timer", &[]).await?;
    let (began, finished) = (Instant::now(), bench.scale.finished);
    fill(&setup, Subject::OTPOST, finished).await?;
    let groups = (finished / group).max(1).to_string();
    let sql =
        include_str!("../fill/finished.sql").replace(":groups", &groups).replace(":size", &group.to_string());
    setup.client.batch_execute(&sql).await?;
    ledger::settle(&setup.client).await?;
    eprintln!(
        "  {finished} dispatches in groups of {group} finished in {:.0} s, under an open snapshot",
        began.elapsed().as_secs_f64()
    );
    bench.idle().await?;
    let sample = Sample::new(Subject::OTPOST.name(), format!("{finished} finished under an open snapshot"));
    let sample = with_scans(sample, kept).await?;
    let seen: i64 = snapshot.query_one("select count(*) from dispatch", &[]).await?.get(0);
    ensure!(seen == 0, "the snapshot sees later rows");
    snapshot.rollback().await?;
    Ok(sample)
}

/// Adds the medians of scans by the ledger's own code.
async fn with_scans(sample: Sample, place: &Place) -> anyhow::Result<Sample> {
    let location: Location = place.ledger_url().parse().map_err(|e| anyhow!("{e}"))?;
    let ledger = otpost::ledger::open(&location, &Options::default())?;
    ledger.check().await?;
    let (first_due, due) =
        scan_ms(&ledger, async |ledger: &Ledger| Ok(ledger.take_due(TAKEN, TAKEN).await?.len())).await?;
    let (first_events, events) = scan_ms(&ledger, async |ledger: &Ledger| {
        Ok(ledger.take_events(&Receiver::Broker, EVENTS).await?.len())
    })
    .await?;
    Ok(sample
        .with("due_scan_ms", due)
        .with("outbox_scan_ms", events)
        .with("first_scan_ms", first_due.max(first_events)))
}

/// The time of the first scan of a process, which begins at the oldest entry, and the median of the others.
async fn scan_ms(
    ledger: &Ledger, scan: impl AsyncFn(&Ledger) -> anyhow::Result<usize>,
) -> anyhow::Result<(f64, f64)> {
    let (mut first, mut took) = (0.0, vec![]);
    for turn in 0..WARM_UP + SCANS {
        let began = Instant::now();
        let found = scan(ledger).await?;
        ensure!(found == 0, "the scan took {found} dispatches, so it is no idle scan");
        let ms = began.elapsed().as_secs_f64() * 1e3;
        if turn == 0 {
            first = ms;
        } else if turn >= WARM_UP {
            took.push(ms);
        }
    }
    took.sort_by(f64::total_cmp);
    Ok((first, took[took.len() / 2]))
}
