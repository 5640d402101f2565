//! The measured otpost: the release binary with its defaults, one carrier, and a rate limit that is never
//! reached.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use uuid::Uuid;

use crate::processes::Process;

/// The carrier's secret, which also signs receipts.
pub(crate) const AUTH_TOKEN: &str = "token";

/// A configuration file of one measurement. It is deleted on drop.
pub(crate) struct Otpost {
    binary: PathBuf,
    config: PathBuf,
}

impl Otpost {
    /// Writes the configuration, with more `settings` in front of its sections. The binary is in the folder of this program.
    pub(crate) fn new(
        ledger_url: &str, amqp_url: Option<&str>, carrier: &str, settings: &str,
    ) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("otpost");
        ensure!(binary.exists(), "{} is missing: cargo build --release -p otpost", binary.display());
        let config = std::env::temp_dir().join(format!("otpost-bench-{}.toml", Uuid::new_v4()));
        let root = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let amqp = amqp_url.map(|url| format!("amqp.url = \"{url}\"")).unwrap_or_default();
        let text = format!(
            r#"
ledger.url = "{ledger_url}"
{amqp}
keys.root = "{root}"
ops.listen = "127.0.0.1:0"
log.level = "warn"
{settings}

[carriers.bench]
rate_per_s = 100000
[carriers.bench.twilio]
account_sid = "AC00000000000000000000000000000000"
auth_token = "{AUTH_TOKEN}"
from = "+15005550006"
base_url = "{carrier}"
"#
        );
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&config)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(Self { binary, config })
    }

    /// Returns the command with these arguments and the configuration.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
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

    /// Starts a process with these roles. `ledger_url` overrides the ledger's URL.
    pub(crate) fn serve(&self, roles: &[&str], ledger_url: Option<&str>) -> anyhow::Result<Process> {
        let mut command = self.command(&["serve", "--roles", &roles.join(",")]);
        if let Some(url) = ledger_url {
            command.env("OTPOST_LEDGER_URL", url);
        }
        Process::start("otpost", &mut command)
    }
}

impl Drop for Otpost {
    fn drop(&mut self) {
        let _ = fs::remove_file::<&Path>(&self.config);
    }
}
