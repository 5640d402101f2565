//! Starts the stand-in for a carrier as a separate process.

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::carrier::{Count, Request};
use crate::keep_alive::get;
use crate::processes::Process;

/// The stand-in for a carrier as a separate process.
pub(crate) struct StandIn {
    process: Process,
    port: u16,
}

impl StandIn {
    /// Starts one that answers at once and only counts.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one that keeps the time, number and callback URL of each request.
    pub(crate) fn recording() -> anyhow::Result<Self> {
        Self::start_with(&["--record"])
    }

    /// Starts one that answers after a delay.
    pub(crate) fn slow(delay: Duration) -> anyhow::Result<Self> {
        Self::start_with(&["--delay-ms", &delay.as_millis().to_string()])
    }

    fn start_with(options: &[&str]) -> anyhow::Result<Self> {
        let mut process = Process::start(
            "the stand-in for a carrier",
            Command::new(std::env::current_exe()?).arg("carrier").args(options),
        )?;
        let mut line = String::new();
        BufReader::new(process.output()?).read_line(&mut line)?;
        let port = line.trim().parse().context("the stand-in for a carrier did not print its port")?;
        Ok(Self { process, port })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn count(&self) -> anyhow::Result<Count> {
        Ok(serde_json::from_slice(&get(self.port, "/count").await?)?)
    }

    /// Fails unless it got that many requests, each for a different number.
    pub(crate) async fn expect(&self, jobs: usize) -> anyhow::Result<()> {
        let count = self.count().await?;
        ensure!(count == Count { requests: jobs, numbers: jobs }, "the carrier got {count:?}, not {jobs}");
        Ok(())
    }

    /// Returns the recorded requests in the order of their arrival.
    pub(crate) async fn requests(&self) -> anyhow::Result<Vec<Request>> {
        Ok(serde_json::from_slice(&get(self.port, "/requests").await?)?)
    }

    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        self.process.cpu_us()
    }
}
