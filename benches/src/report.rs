//! Many measurements as one table, or as JSON, with the median of each figure.

use std::fmt::Write as _;
use std::io::BufRead as _;

use anyhow::{Context, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::backlog::Backlog;
use crate::measure::Figures;

/// Minimum rate of otpost relative to the honest floor.
const MIN_RATE: f64 = 0.6;
/// Maximum memory of otpost with a long queue, in bytes.
const MAX_MEMORY: f64 = 100e6;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Figures(Figures),
    Backlog(Backlog),
}

/// The medians of one worker's measurements on one ledger.
#[derive(Debug, Serialize)]
struct Row {
    worker: String,
    /// Old jobs in the ledger.
    ledger_rows: usize,
    jobs: usize,
    runs: usize,
    deliveries_per_s: f64,
    /// The slowest and the fastest run.
    deliveries_per_s_range: [f64; 2],
    of_honest_floor: Option<f64>,
    worker_cpu_us: f64,
    postgres_cpu_us: Option<f64>,
    rabbitmq_cpu_us: Option<f64>,
    carrier_cpu_us: f64,
    /// The share of the machine that other processes and the kernel used.
    others: f64,
    peak_mb: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    backlog: Option<Backlog>,
    /// Minimum rate of otpost relative to the honest floor.
    least_share: Option<f64>,
    /// Whether the limits are met, as far as they were measured.
    rate_bar_met: Option<bool>,
    memory_bar_met: Option<bool>,
}

/// Reads measurements from standard input, and prints their summary.
pub(crate) fn print(options: &Options) -> anyhow::Result<()> {
    let (mut figures, mut backlog) = (vec![], None);
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?).context("a line is not a measurement")? {
            Line::Figures(f) => figures.push(f),
            Line::Backlog(b) => backlog = Some(b),
        }
    }
    ensure!(!figures.is_empty() || backlog.is_some(), "nothing was measured");
    let report = report(&figures, backlog);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", table(&report)?);
    }
    Ok(())
}

fn report(figures: &[Figures], backlog: Option<Backlog>) -> Report {
    let mut groups: Vec<Vec<&Figures>> = vec![];
    for f in figures {
        match groups
            .iter_mut()
            .find(|g| (&g[0].subject, g[0].rows, g[0].jobs) == (&f.subject, f.rows, f.jobs))
        {
            Some(group) => group.push(f),
            None => groups.push(vec![f]),
        }
    }
    groups.sort_by_key(|g| (g[0].rows, g[0].subject.clone()));
    let mut rows: Vec<Row> = groups.iter().map(|g| row(g)).collect();
    let honest: Vec<(usize, f64)> = rows
        .iter()
        .filter(|r| r.worker == "honest floor")
        .map(|r| (r.ledger_rows, r.deliveries_per_s))
        .collect();
    for row in &mut rows {
        let floor = honest.iter().find(|(ledger_rows, _)| *ledger_rows == row.ledger_rows);
        row.of_honest_floor = floor.map(|(_, rate)| row.deliveries_per_s / rate);
    }
    let shares = rows.iter().filter(|r| r.worker == "otpost").filter_map(|r| r.of_honest_floor);
    let least_share = shares.min_by(f64::total_cmp);
    Report {
        least_share,
        rate_bar_met: least_share.map(|share| share >= MIN_RATE),
        memory_bar_met: backlog.as_ref().map(|b| b.peak_kib as f64 * 1024.0 < MAX_MEMORY),
        rows,
        backlog,
    }
}

fn row(group: &[&Figures]) -> Row {
    let first = group[0];
    let of = |figure: &dyn Fn(&Figures) -> f64| median(group.iter().map(|f| figure(f)).collect());
    let each = |figure: &dyn Fn(&Figures) -> u64| of(&|f| figure(f) as f64 / f.jobs as f64);
    // If it is unknown for one, it is unknown for all: the server is on this machine or not.
    let known =
        |figure: fn(&Figures) -> Option<u64>| figure(first).map(|_| each(&|f| figure(f).unwrap_or(0)));
    let rate = |f: &Figures| f.jobs as f64 / f.seconds;
    let rates = group.iter().map(|f| rate(f));
    Row {
        worker: first.subject.clone(),
        ledger_rows: first.rows,
        jobs: first.jobs,
        runs: group.len(),
        deliveries_per_s: of(&rate),
        deliveries_per_s_range: [rates.clone().fold(f64::MAX, f64::min), rates.fold(0.0, f64::max)],
        of_honest_floor: None,
        worker_cpu_us: each(&|f| f.worker_cpu_us),
        postgres_cpu_us: known(|f| f.postgres_cpu_us),
        rabbitmq_cpu_us: known(|f| f.rabbitmq_cpu_us),
        carrier_cpu_us: each(&|f| f.carrier_cpu_us),
        others: of(&|f| f.others_cpu_us as f64 / 1e6 / (f.seconds * f.processors)),
        peak_mb: of(&|f| f.peak_kib as f64 * 1024.0 / 1e6),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

fn table(report: &Report) -> anyhow::Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "| Worker | Rows in the ledger | Deliveries/s (slowest to fastest) | Of the honest floor | CPU per delivery, µs: worker | PostgreSQL | RabbitMQ | carrier | Peak memory, MB | Others' share of the machine |"
    )?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    let whole = |value: Option<f64>| value.map_or("?".to_owned(), |v| format!("{v:.0}"));
    for r in &report.rows {
        let [slowest, fastest] = r.deliveries_per_s_range;
        writeln!(
            out,
            "| {} | {} | {:.0} ({slowest:.0} to {fastest:.0}) | {} | {:.0} | {} | {} | {:.0} | {:.0} | {:.0} % |",
            r.worker,
            r.ledger_rows,
            r.deliveries_per_s,
            r.of_honest_floor.map_or("?".to_owned(), |share| format!("{share:.2}")),
            r.worker_cpu_us,
            whole(r.postgres_cpu_us),
            whole(r.rabbitmq_cpu_us),
            r.carrier_cpu_us,
            r.peak_mb,
            r.others * 100.0,
        )?;
    }
    let verdict = |met| if met { "met" } else { "NOT met" };
    writeln!(out)?;
    if let Some(b) = &report.backlog {
        let mb = b.peak_kib as f64 * 1024.0 / 1e6;
        writeln!(
            out,
            "With {} jobs waiting (of {}; {} sent) otpost's peak is {mb:.0} MB.",
            b.waiting, b.preloaded, b.sent
        )?;
    }
    if let (Some(share), Some(met)) = (report.least_share, report.rate_bar_met) {
        let verdict = verdict(met);
        writeln!(
            out,
            "Minimum of {MIN_RATE} of the honest floor's rate: {verdict}; otpost has {share:.3} at least."
        )?;
    }
    if let Some(met) = report.memory_bar_met {
        writeln!(out, "Maximum of {:.0} MB with a long queue: {}.", MAX_MEMORY / 1e6, verdict(met))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{Figures, median, report};

    fn figures(subject: &str, seconds: f64) -> Figures {
        Figures {
            subject: subject.to_owned(),
            jobs: 100,
            rows: 0,
            seconds,
            worker_cpu_us: 1000,
            postgres_cpu_us: None,
            rabbitmq_cpu_us: Some(2000),
            carrier_cpu_us: 0,
            others_cpu_us: 0,
            processors: 2.0,
            peak_kib: 1000,
        }
    }

    #[test]
    fn the_median_of_an_even_count_is_between_the_middle_two() {
        assert!((median(vec![9.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn otpost_is_compared_with_the_honest_floor_by_their_medians() {
        let slow = |seconds| figures("otpost", seconds);
        let all = [slow(2.0), slow(1.0), slow(50.0), figures("honest floor", 1.0)];
        let report = report(&all, None);
        let otpost = report.rows.iter().find(|r| r.worker == "otpost").expect("otpost has a row");
        assert_eq!(otpost.runs, 3);
        assert!((otpost.of_honest_floor.expect("there is a floor") - 0.5).abs() < 1e-9);
        assert!((otpost.worker_cpu_us - 10.0).abs() < 1e-9);
        assert_eq!((otpost.postgres_cpu_us, report.rate_bar_met), (None, Some(false)));
    }
}
