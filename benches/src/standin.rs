//! Starts the stand-in for a carrier as a separate process.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use anyhow::Context;

use crate::carrier::{self, Count};
use crate::processes::Process;

/// The stand-in for a carrier as a separate process.
pub(crate) struct StandIn {
    process: Process,
    port: u16,
}

impl StandIn {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut process = Process::start(
            "the stand-in for a carrier",
            Command::new(std::env::current_exe()?).arg("carrier"),
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
        carrier::count(self.port).await
    }

    pub(crate) fn cpu_us(&self) -> anyhow::Result<u64> {
        self.process.cpu_us()
    }
}
