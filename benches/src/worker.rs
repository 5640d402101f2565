//! A running worker: one process or several.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::processes::Process;

/// The line that a hand-written worker prints after its last acknowledgement.
pub(crate) const DONE: &str = "done";
/// Pause between two checks for the end.
const LOOK: Duration = Duration::from_millis(20);
/// Time limit of a worker.
const TIME_LIMIT: Duration = Duration::from_mins(20);

/// A running worker. Its processes are killed on drop.
pub(crate) struct Worker {
    processes: Vec<Process>,
    /// Ends when the worker has printed [`DONE`].
    done: Option<JoinHandle<()>>,
}

impl Worker {
    /// A worker of these processes.
    pub(crate) fn of(processes: Vec<Process>) -> Self {
        Self { processes, done: None }
    }

    /// Starts a hand-written worker, which prints [`DONE`].
    pub(crate) fn hand_written(what: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut process = Process::start(what, command)?;
        let output = BufReader::new(process.output()?);
        let done = std::thread::spawn(move || {
            if !output.lines().any(|line| line.is_ok_and(|l| l == DONE)) {
                // A process that ends without output is detected by its exit.
                std::thread::park();
            }
        });
        Ok(Self { processes: vec![process], done: Some(done) })
    }

    /// Whether it has printed [`DONE`].
    pub(crate) fn is_done(&self) -> bool {
        self.done.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Returns an error if one of its processes has ended.
    pub(crate) fn lives(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Process::lives)
    }

    /// Waits until the condition holds. Fails if a process ends.
    pub(crate) async fn until(
        &mut self, holds: impl AsyncFn(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !holds(self).await? {
            self.lives()?;
            ensure!(began.elapsed() < TIME_LIMIT, "it took longer than {TIME_LIMIT:?}");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Returns the processor time so far in microseconds.
    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        self.processes.iter().map(Process::cpu_us).sum()
    }

    /// Returns the resident memory in KiB, summed over its processes.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.processes.iter().map(Process::resident_kib).sum()
    }

    /// Returns the peak resident memory so far in KiB, summed over its processes.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        self.processes.iter().map(Process::peak_kib).sum()
    }

    /// Stops its processes and waits until they have ended.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.processes.into_iter().try_for_each(Process::stop)
    }
}
