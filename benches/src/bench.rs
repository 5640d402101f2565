//! The size of a run, and what all sections share.

use std::time::{Duration, Instant};

use crate::place::Place;
use crate::processes;

/// Time limit of the wait for an idle machine.
const IDLE_WAIT: Duration = Duration::from_mins(1);
/// The share of the processors that other load may use.
const MAX_LOAD: f64 = 0.15;

/// A run of the benchmark.
pub(crate) struct Bench {
    pub(crate) place: Place,
    pub(crate) scale: Scale,
}

/// How much a run measures.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// Whether the run is a smoke test: it does not wait for an idle machine.
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Jobs of a drain.
    pub(crate) jobs: usize,
    /// Whether Kannel and the Node worker are measured.
    pub(crate) peers: bool,
    /// Old rows in the ledger of the second drain.
    pub(crate) rows: usize,
    /// Rates of the latencies; `None`: half of otpost's drain.
    pub(crate) rates: Vec<Option<f64>>,
    /// Duration of a rate.
    pub(crate) seconds: f64,
    /// Old rows of the sections growth and retention.
    pub(crate) growth_rows: Vec<usize>,
    /// Dispatches that are finished under an open snapshot.
    pub(crate) finished: usize,
    pub(crate) quota_keys: usize,
    /// Jobs that wait while memory is measured, in ascending order.
    pub(crate) waiting: Vec<usize>,
    /// Starts of a process in each round.
    pub(crate) starts: usize,
    /// Jobs of the two runs whose allocations are compared.
    pub(crate) allocation_jobs: [usize; 2],
    /// Pause in which the servers write their data.
    pub(crate) quiet: Duration,
}

impl Bench {
    /// Returns the cases of all rounds. Every second round is in reverse order, so that no case is always first.
    pub(crate) fn turns<C: Copy>(&self, cases: &[C]) -> Vec<C> {
        let mut turns = vec![];
        for round in 0..self.scale.rounds {
            let mut cases = cases.to_vec();
            if round % 2 == 1 {
                cases.reverse();
            }
            turns.extend(cases);
        }
        turns
    }

    /// Waits up to a minute until the machine is idle. A smoke test does not wait.
    pub(crate) async fn idle(&self) -> anyhow::Result<()> {
        if self.scale.quick {
            return Ok(());
        }
        let began = Instant::now();
        while began.elapsed() < IDLE_WAIT {
            let (since, before_us) = (Instant::now(), processes::machine_cpu_us()?);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let used_us = processes::machine_cpu_us()?.saturating_sub(before_us) as f64;
            if used_us < MAX_LOAD * processes::processors() * since.elapsed().as_secs_f64() * 1e6 {
                break;
            }
        }
        Ok(())
    }
}
