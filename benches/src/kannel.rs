//! Kannel as a worker: `bearerbox` with an HTTP carrier, and `smsbox`, which takes the texts over HTTP.
//!
//! Texts are pushed over connections that stay open. The clock runs from the first push until the carrier has received all.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use uuid::Uuid;

use crate::bench::Bench;
use crate::costs::Costs;
use crate::drain::Figures;
use crate::jobs::Batch;
use crate::keep_alive;
use crate::ledger;
use crate::processes::{Process, free_ports};
use crate::standin::StandIn;
use crate::worker::Worker;

/// Connections that push at the same time.
const CONNECTIONS: usize = 64;
/// Time limit of the start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Where `bearerbox` keeps the texts that it has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Only in memory.
    None,
    /// A file for each text.
    Spool,
}

impl Store {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "Kannel, no store",
            Self::Spool => "Kannel, spool store",
        }
    }
}

/// Measures a drain.
pub(crate) async fn drain(bench: &Bench, store: Store) -> anyhow::Result<Figures> {
    let carrier = StandIn::start()?;
    let client = ledger::connect(&bench.place.database_url).await?;
    let kannel = Kannel::prepare(store, &carrier.url())?;
    let mut worker = kannel.start()?;
    kannel.ready(&mut worker).await?;
    let batch = Batch::new(bench.scale.jobs);
    let requests: Vec<Vec<u8>> = (0..batch.jobs).map(|job| kannel.request(&batch, job)).collect();
    tokio::time::sleep(bench.scale.quiet).await;

    let (cpu_before, before) = (worker.cpu_us()?, Costs::now(&client, &bench.place, &carrier).await?);
    let began = Instant::now();
    keep_alive::send_all(kannel.http_port, CONNECTIONS, requests).await.context("a push failed")?;
    worker.until(async |_| Ok(carrier.count().await?.requests >= batch.jobs)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let worker_cpu_us = worker.cpu_us()? - cpu_before;
    let mut costs = Costs::now(&client, &bench.place, &carrier).await?.since(&before);
    (costs.postgres, costs.rabbitmq, costs.wal_bytes) = (None, None, None);
    let peak_kib = worker.peak_kib()?;
    tokio::time::sleep(bench.scale.quiet).await;
    worker.lives()?;
    drop(worker);
    carrier.expect(batch.jobs).await?;
    Ok(Figures { jobs: batch.jobs, seconds, worker_cpu_us, peak_kib, costs })
}

/// A configuration of Kannel in a folder of its own, which is deleted on drop.
struct Kannel {
    folder: PathBuf,
    config: PathBuf,
    http_port: u16,
    box_port: u16,
}

impl Kannel {
    fn prepare(store: Store, carrier: &str) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("otpost-bench-kannel-{}", Uuid::new_v4()));
        fs::create_dir_all(folder.join("spool"))?;
        let [admin_port, box_port, http_port, receipt_port] = free_ports()?;
        let password = Uuid::new_v4().simple().to_string();
        let store = match store {
            Store::None => String::new(),
            Store::Spool => {
                format!("store-type = spool\nstore-location = \"{}\"", folder.join("spool").display())
            }
        };
        let text = format!(
            r#"
group = core
admin-port = {admin_port}
admin-interface = 127.0.0.1
admin-password = {password}
smsbox-port = {box_port}
smsbox-interface = 127.0.0.1
box-deny-ip = "*.*.*.*"
box-allow-ip = "127.0.0.1"
dlr-storage = internal
log-level = 3
{store}

group = smsc
smsc = http
smsc-id = bench
system-type = kannel
smsc-username = bench
smsc-password = {password}
port = {receipt_port}
connect-allow-ip = "127.0.0.1"
send-url = "{carrier}/cgi-bin/sendsms"

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {http_port}
sendsms-interface = 127.0.0.1
log-level = 3

group = sms-service
keyword = default
max-messages = 0
text = "none"

group = sendsms-user
username = bench
password = bench
max-messages = 1
"#
        );
        let config = folder.join("kannel.conf");
        fs::write(&config, text)?;
        Ok(Self { folder, config, http_port, box_port })
    }

    /// Starts `bearerbox`, and `smsbox` when it listens.
    fn start(&self) -> anyhow::Result<Worker> {
        let mut bearerbox = process("bearerbox", &self.config)?;
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.box_port)).is_err() {
            bearerbox.lives()?;
            ensure!(began.elapsed() < START_LIMIT, "bearerbox does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Worker::of(vec![bearerbox, process("smsbox", &self.config)?]))
    }

    /// Waits until `smsbox` listens.
    async fn ready(&self, worker: &mut Worker) -> anyhow::Result<()> {
        let listens = async |_: &_| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.http_port)).is_ok());
        worker.until(listens).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    fn request(&self, batch: &Batch, job: usize) -> Vec<u8> {
        let number = batch.number(job).replace('+', "%2B");
        let code = job * 7919 % 1_000_000;
        let port = self.http_port;
        format!(
            "GET /cgi-bin/sendsms?username=bench&password=bench&from=15005550006&to={number}\
             &text={code:06}+is+your+Example+code. HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"
        )
        .into_bytes()
    }
}

impl Drop for Kannel {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn process(program: &'static str, config: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(Path::new("/usr/sbin").join(program));
    command.arg("-v").arg("3").arg(config).stderr(Stdio::null());
    Process::start(program, &mut command)
}
