//! The workers that drain the queue of jobs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::hand_written::{self, HandWritten};
use crate::setup::Setup;
use crate::worker::Worker;

/// A worker that takes its jobs from RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    HandWritten(HandWritten),
    /// That many processes of `otpost serve --roles worker`.
    Otpost(usize),
    /// `benches/node/worker.js`
    Node,
}

impl Subject {
    pub(crate) const REFERENCE: Self = Self::HandWritten(HandWritten::Reference);
    pub(crate) const OTPOST: Self = Self::Otpost(1);

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HandWritten(HandWritten::Simple) => "simple worker",
            Self::HandWritten(HandWritten::Reference) => "reference worker",
            Self::Otpost(_) => "otpost",
            Self::Node => "Node worker",
        }
    }

    /// Returns the SQL of its own tables. otpost creates its tables itself.
    pub(crate) fn schema(self) -> Option<&'static str> {
        match self {
            Self::HandWritten(which) => Some(which.schema()),
            Self::Otpost(_) => None,
            Self::Node => Some(include_str!("../node/tables.sql")),
        }
    }

    /// Returns a query for the number of sent jobs. otpost's ledger may hold earlier ones, so its `uid` is compared.
    pub(crate) fn sent_query(self) -> &'static str {
        match self {
            Self::HandWritten(_) => {
                "select count(*) from worker_dispatch where state = 'sent' and $1::uuid is not null"
            }
            Self::Otpost(_) => "select count(*) from dispatch where state = 'sent' and uid >= $1",
            Self::Node => "select count(*) from node_job where state = 'sent' and $1::uuid is not null",
        }
    }

    /// Starts it for a number of jobs.
    pub(crate) fn start(self, jobs: usize, setup: &Setup) -> anyhow::Result<Worker> {
        self.start_at(jobs, setup, &setup.place.ledger_url())
    }

    /// Starts it with another URL of the same ledger.
    pub(crate) fn start_at(self, jobs: usize, setup: &Setup, ledger_url: &str) -> anyhow::Result<Worker> {
        let jobs = jobs.to_string();
        match self {
            Self::HandWritten(which) => {
                let slots = hand_written::PARALLEL_JOBS.to_string();
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["work", which.word(), "--jobs", &jobs, "--slots", &slots])
                    .args(["--amqp-url", &setup.place.amqp_url, "--ledger-url", ledger_url])
                    .args(["--carrier", &setup.carrier.url()]);
                Worker::hand_written("a hand-written worker", &mut command)
            }
            Self::Otpost(processes) => {
                let one = |_| setup.otpost.serve(&["worker"], Some(ledger_url));
                Ok(Worker::of((0..processes).map(one).collect::<anyhow::Result<_>>()?))
            }
            Self::Node => {
                let folder = std::env::var("OTPOST_BENCH_NODE").context("OTPOST_BENCH_NODE is not set")?;
                let script = Path::new(&folder).join("worker.js");
                ensure!(script.exists(), "{} is missing", script.display());
                let mut command = Command::new("node");
                command
                    .arg(script)
                    .args([&jobs, &setup.place.amqp_url, &setup.place.database_url, &setup.place.schema])
                    .arg(setup.carrier.url());
                Worker::hand_written("the Node worker", &mut command)
            }
        }
    }
}
