//! The measured `two-step serve`.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use uuid::Uuid;

use crate::place::Place;
use crate::processes::Process;

/// Time limit of the start.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// The service's files and addresses. They are deleted on drop.
pub(crate) struct Service {
    binary: PathBuf,
    config: PathBuf,
    place: Place,
    pub(crate) pages: String,
    pub(crate) api: String,
    ops: String,
    pub(crate) key: String,
}

/// Returns a free port.
fn port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Service {
    /// Writes the configuration, and creates the tables and a key. The binary is in the folder of this
    /// program.
    pub(crate) fn prepare(place: &Place, otpost: u16) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("two-step");
        ensure!(binary.exists(), "{} is missing: cargo build --release -p two-step", binary.display());
        let config = std::env::temp_dir().join(format!("two-step-bench-{}.toml", Uuid::new_v4()));
        let root = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let (pages, api, ops) = (port()?, port()?, port()?);
        let text = format!(
            r#"
public_url = "http://127.0.0.1:{pages}"
pages.listen = "127.0.0.1:{pages}"
api.listen = "127.0.0.1:{api}"
ops.listen = "127.0.0.1:{ops}"
database.url = "{database}"
keys.root = "{root}"
log.level = "warn"
[otpost]
mode = "http"
url = "http://127.0.0.1:{otpost}"
key = "bench"
[limits]
send_gaps_s = [0]
client_entries = ["10000/1m"]
client_sends = ["10000/1m"]
[products.shop]
name = "Shop"
return_urls = ["http://127.0.0.1:1/back"]
countries = ["GB"]
"#,
            database = place.ledger_url(),
        );
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&config)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        let address = |port: u16| format!("http://127.0.0.1:{port}");
        let mut service = Self {
            binary,
            config,
            place: place.clone(),
            pages: address(pages),
            api: address(api),
            ops: address(ops),
            key: String::new(),
        };
        service.run(&["migrate"])?;
        let key = service.run(&["keys", "create", "--product", "shop"])?;
        service.key.push_str(key.trim());
        Ok(service)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).arg("--config").arg(&self.config);
        command
    }

    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let out = self.command(args).output().context("two-step did not start")?;
        ensure!(
            out.status.success(),
            "two-step {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(String::from_utf8(out.stdout)?)
    }

    pub(crate) fn serve(&self) -> anyhow::Result<Process> {
        Process::start("two-step", &mut self.command(&["serve"]))
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let http = reqwest::Client::builder().no_proxy().build()?;
        loop {
            let answer = http.get(format!("{}/readyz", self.ops)).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return Ok(());
            }
            ensure!(began.elapsed() < TIME_LIMIT, "two-step is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Drops its tables.
    pub(crate) async fn forget(&self) -> anyhow::Result<()> {
        let database = crate::ledger::connect(&self.place.database_url).await?;
        database.batch_execute(&format!("drop schema {} cascade", self.place.schema)).await?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.config);
    }
}
