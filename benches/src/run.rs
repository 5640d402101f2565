//! A run: measures the requested sections one after another, and reports.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::bars::bars;
use crate::bench::{Bench, Scale};
use crate::ledger;
use crate::machine::{self, Machine};
use crate::place::Place;
use crate::report::Report;
use crate::results::{Note, Results};
use crate::section::Section;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Sections to measure; without any: the short comparison (drain and memory)
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Measure all sections, at full size
    #[arg(long, conflicts_with = "sections")]
    all: bool,
    /// Smoke test: everything in small size, one round
    #[arg(long)]
    quick: bool,
    /// Number of rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// Number of jobs of a drain
    #[arg(long)]
    jobs: Option<usize>,
    /// Rates of the latencies, in jobs per second; `half`: half of otpost's drain
    #[arg(long, value_delimiter = ',', default_values = ["200", "1000", "half"])]
    rates: Vec<Rate>,
    /// Old rows in the ledgers of the sections growth and retention
    #[arg(long, value_delimiter = ',')]
    rows: Vec<usize>,
    /// Dispatches of the growth section that finish under an open snapshot
    #[arg(long)]
    finished: Option<usize>,
    /// Numbers of jobs that wait in the section memory
    #[arg(long, value_delimiter = ',')]
    waiting: Vec<usize>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Also write the JSON to this file
    #[arg(long)]
    output: Option<PathBuf>,
}

/// A rate in jobs per second; `None`: half of otpost's drain.
#[derive(Debug, Clone, Copy)]
struct Rate(Option<f64>);

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "half" {
            return Ok(Self(None));
        }
        let rate = text.parse().ok().filter(|rate| *rate > 0.0);
        rate.map(|rate| Self(Some(rate))).ok_or_else(|| "a rate is a positive number, or half".to_owned())
    }
}

impl Options {
    fn sections(&self) -> Vec<Section> {
        use clap::ValueEnum as _;
        if self.all {
            return Section::value_variants().to_vec();
        }
        if self.sections.is_empty() {
            return vec![Section::Drain, Section::Memory];
        }
        let mut sections = vec![];
        for section in &self.sections {
            if !sections.contains(section) {
                sections.push(*section);
            }
        }
        sections
    }

    fn scale(&self) -> Scale {
        let peers = self.all || self.sections.contains(&Section::Drain);
        let rates = self.rates.iter().map(|rate| rate.0).collect();
        let mut scale = if self.quick {
            Scale {
                quick: true,
                rounds: 1,
                jobs: 2000,
                peers,
                rows: 2000,
                rates,
                seconds: 2.0,
                growth_rows: vec![1000, 10_000],
                finished: 10_000,
                quota_keys: 10_000,
                waiting: vec![2000],
                starts: 2,
                allocation_jobs: [200, 600],
                quiet: Duration::from_millis(300),
            }
        } else {
            Scale {
                quick: false,
                rounds: 3,
                jobs: 20_000,
                peers,
                rows: 200_000,
                rates,
                seconds: 20.0,
                growth_rows: vec![10_000, 1_000_000],
                finished: 3_000_000,
                quota_keys: 1_000_000,
                waiting: vec![100_000],
                starts: 5,
                allocation_jobs: [500, 2500],
                quiet: Duration::from_secs(2),
            }
        };
        if self.all && !self.quick {
            scale.jobs = 50_000;
            scale.growth_rows.push(10_000_000);
            scale.waiting.push(1_000_000);
        }
        scale.rounds = self.rounds.unwrap_or(scale.rounds).max(1);
        scale.jobs = self.jobs.unwrap_or(scale.jobs).max(1);
        scale.finished = self.finished.unwrap_or(scale.finished).max(1);
        if !self.rows.is_empty() {
            scale.growth_rows.clone_from(&self.rows);
        }
        if !self.waiting.is_empty() {
            scale.waiting.clone_from(&self.waiting);
        }
        scale
    }
}

/// Runs until the end or until SIGINT or SIGTERM, which ends all processes of the run.
pub(crate) async fn until_stopped(options: Options) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = run(options) => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

/// Measures and reports. Fails if a section failed, after the report of the others.
async fn run(options: Options) -> anyhow::Result<()> {
    let (sections, scale) = (options.sections(), options.scale());
    let otpost = std::env::current_exe()?.with_file_name("otpost");
    let mut machine = Machine::read(&options.place, &otpost, scale.peers).await?;
    let bench = Bench { place: options.place, scale };
    let mut results = Results::default();
    for section in sections {
        eprintln!("{} (load {})", section.word(), machine::load());
        if let Err(error) = section.measure(&bench, &mut results).await {
            eprintln!("  FAILED: {error:#}");
            results.failures.push(Note { section, text: format!("{error:#}") });
        }
        ledger::sweep(&bench.place).await?;
    }
    machine.load_after = Some(machine::load());
    let failed = results.failures.len();
    let Scale { quick, jobs, rounds, .. } = bench.scale;
    let report = Report { machine, quick, jobs, rounds, bars: bars(&results), results };
    let json = serde_json::to_string_pretty(&report)?;
    if let Some(file) = &options.output {
        std::fs::write(file, &json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if options.json {
        println!("{json}");
    } else {
        print!("{}", report.markdown()?);
    }
    ensure!(failed == 0, "{failed} sections failed");
    Ok(())
}
