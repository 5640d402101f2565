//! The machine and the versions of a run.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::ledger;
use crate::place::Place;
use crate::processes;

/// The machine and the versions of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    date: String,
    processor: String,
    processors: f64,
    memory_gb: f64,
    kernel: String,
    postgresql: String,
    fsync: String,
    rabbitmq: String,
    otpost: String,
    /// The commit of the measured tree, if known.
    commit: Option<String>,
    node: Option<String>,
    kannel: Option<String>,
    load_before: String,
    pub(crate) load_after: Option<String>,
}

impl Machine {
    pub(crate) async fn read(place: &Place, otpost: &std::path::Path, peers: bool) -> anyhow::Result<Self> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
        let memory_kib = memory.and_then(|m| m.trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0);
        let client = ledger::connect(&place.database_url).await?;
        let setting = async |name: &str| {
            let row = client.query_one(&format!("show {name}"), &[]).await?;
            anyhow::Ok(row.get::<_, String>(0))
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Self {
            date: crate::jobs::now().to_string(),
            processor: field(&processor, "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: processes::processors(),
            memory_gb: (memory_kib * 1024.0 / 1e8).round() / 10.0,
            kernel: kernel.trim().to_owned(),
            postgresql: setting("server_version").await?,
            fsync: setting("fsync").await?,
            rabbitmq: std::env::var("OTPOST_BENCH_RABBITMQ_VERSION").unwrap_or_else(|_| "unknown".to_owned()),
            otpost: first_line(Command::new(otpost).arg("--version")).unwrap_or_else(|| "unknown".to_owned()),
            commit: first_line(Command::new("git").args(["describe", "--always", "--dirty"])),
            node: if peers { first_line(Command::new("node").arg("--version")) } else { None },
            kannel: if peers {
                first_line(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "kannel"]))
            } else {
                None
            },
            load_before: load(),
            load_after: None,
        })
    }

    /// Returns one paragraph.
    pub(crate) fn text(&self) -> String {
        let known = |name: &str, version: &Option<String>| {
            version.as_ref().map(|v| format!(", {name} {v}")).unwrap_or_default()
        };
        format!(
            "{}: {}, {} processors, {} GB of memory, Linux {}; {}{}, PostgreSQL {} (fsync {}), RabbitMQ {}{}{}. Load before: {}. \
             Load after: {}.",
            self.date,
            self.processor,
            self.processors,
            self.memory_gb,
            self.kernel,
            self.otpost,
            known("commit", &self.commit),
            self.postgresql,
            self.fsync,
            self.rabbitmq,
            known("Node", &self.node),
            known("Kannel", &self.kannel),
            self.load_before,
            self.load_after.as_deref().unwrap_or("unknown")
        )
    }
}

/// Returns the load averages of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}
