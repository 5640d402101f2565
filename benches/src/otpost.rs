//! The measured otpost: the release binary with its defaults, one carrier, and a rate limit that is never
//! reached.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use uuid::Uuid;

use crate::place::Place;
use crate::processes::Process;

/// A configuration file of one measurement. It is deleted on drop.
pub(crate) struct Otpost {
    binary: PathBuf,
    config: PathBuf,
}

impl Otpost {
    /// Writes the configuration. The binary is in the folder of this program.
    pub(crate) fn new(place: &Place, carrier: &str) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("otpost");
        ensure!(binary.exists(), "{} is missing: cargo build --release -p otpost", binary.display());
        let config = std::env::temp_dir().join(format!("otpost-bench-{}.toml", Uuid::new_v4()));
        let root = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let text = format!(
            r#"
ledger.url = "{ledger}"
amqp.url = "{amqp}"
keys.root = "{root}"
ops.listen = "127.0.0.1:0"
log.level = "warn"

[carriers.bench]
rate_per_s = 100000
[carriers.bench.twilio]
account_sid = "AC00000000000000000000000000000000"
auth_token = "token"
from = "+15005550006"
base_url = "{carrier}"
"#,
            ledger = place.ledger_url(),
            amqp = place.amqp_url,
        );
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&config)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(Self { binary, config })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        // The caller's environment must not affect the measurement.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTPOST_"))
        {
            command.env_remove(name);
        }
        command.args(args).arg("--config").arg(&self.config);
        command
    }

    /// Creates the tables and the queues.
    pub(crate) fn migrate(&self) -> anyhow::Result<()> {
        let made = self.command(&["migrate"]).output().context("otpost migrate did not start")?;
        ensure!(made.status.success(), "otpost migrate: {}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }

    /// Starts the worker.
    pub(crate) fn work(&self) -> anyhow::Result<Process> {
        Process::start("otpost", &mut self.command(&["serve", "--roles", "worker"]))
    }
}

impl Drop for Otpost {
    fn drop(&mut self) {
        let _ = fs::remove_file::<&Path>(&self.config);
    }
}
