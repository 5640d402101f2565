//! Deliveries per second of one process without a broker: SQLite, and jobs over HTTP. The clock runs from the first post until every
//! dispatch is written as sent.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use otpost::http::{NewKey, Scope};
use otpost::ledger;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use crate::bench::Bench;
use crate::jobs::Batch;
use crate::keep_alive;
use crate::otpost::Otpost;
use crate::processes::free_ports;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::standin::StandIn;
use crate::subject::Subject;
use crate::worker::Worker;

/// The case of this section.
pub(crate) const CASE: &str = "SQLite, jobs over HTTP";
/// Connections that post at the same time.
const CONNECTIONS: usize = 128;
/// API keys. Each may post 1,000 jobs per second.
const KEYS: usize = 32;

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for _ in 0..bench.scale.rounds {
        bench.idle().await?;
        let folder = std::env::temp_dir().join(format!("otpost-bench-embedded-{}", Uuid::new_v4()));
        fs::create_dir_all(&folder)?;
        let sample = deliver(bench, &folder.join("otpost.db")).await;
        fs::remove_dir_all(&folder)?;
        results.add(Section::Embedded, sample?);
    }
    Ok(())
}

async fn deliver(bench: &Bench, file: &Path) -> anyhow::Result<Sample> {
    let jobs = bench.scale.jobs + KEYS;
    let [api, receipts] = free_ports()?;
    let carrier = StandIn::start()?;
    let settings = format!(
        "api.listen = \"127.0.0.1:{api}\"\nreceipts.listen = \"127.0.0.1:{receipts}\"\nlimits.door_client = \"1000/1s\""
    );
    let otpost = Otpost::new(&format!("sqlite:{}", file.display()), None, &carrier.url(), &settings)?;
    otpost.migrate()?;
    let keys = keys(file).await?;
    let batch = Batch::new(jobs);
    let mut posts: Vec<Vec<u8>> =
        (0..jobs).map(|job| post(&batch, job, &keys[job % KEYS])).collect::<anyhow::Result<_>>()?;
    let mut worker = Worker::of(vec![otpost.serve(&["api", "worker", "receipts"], None)?]);
    worker.until(async |_| Ok(tokio::net::TcpStream::connect(("127.0.0.1", api)).await.is_ok())).await?;
    tokio::time::sleep(bench.scale.quiet).await;
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let count = |condition: &str| -> anyhow::Result<usize> {
        let sql = format!("select count(*) from dispatch where {condition}");
        Ok(database.query_row(&sql, [], |row| row.get::<_, i64>(0))? as usize)
    };

    // The first job of each key is not measured. otpost looks few unknown keys up per second.
    let measured = posts.split_off(KEYS);
    keep_alive::send_all(api, 1, posts).await?;
    worker.until(async |_| Ok(carrier.count().await?.requests >= KEYS)).await?;

    let (cpu_before, began) = (worker.cpu_us()?, Instant::now());
    keep_alive::send_all(api, CONNECTIONS, measured).await?;
    let posted_seconds = began.elapsed().as_secs_f64();
    worker
        .until(async |_| {
            Ok(carrier.count().await?.requests >= jobs && count("state in ('queued', 'sending')")? == 0)
        })
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_us = worker.cpu_us()? - cpu_before;
    let peak_kib = worker.peak_kib()?;
    tokio::time::sleep(bench.scale.quiet).await;
    carrier.expect(jobs).await?;
    let sent = count("state = 'sent'")?;
    ensure!(sent == jobs, "{sent} jobs are written as sent, not {jobs}");
    drop(database);
    worker.stop()?;
    Ok(Sample::new(Subject::OTPOST.name(), CASE)
        .with("deliveries_per_s", bench.scale.jobs as f64 / seconds)
        .with("posts_per_s", bench.scale.jobs as f64 / posted_seconds)
        .with("worker_cpu_us", cpu_us as f64 / bench.scale.jobs as f64)
        .with("peak_mb", peak_kib as f64 * 1024.0 / 1e6))
}

/// Creates API keys, and returns their texts.
async fn keys(file: &Path) -> anyhow::Result<Vec<String>> {
    let options = ledger::Options { exclusive: false, ..ledger::Options::default() };
    let ledger = ledger::open(&ledger::Location::Sqlite(file.to_owned()), &options)?;
    let mut texts = vec![];
    for _ in 0..KEYS {
        let key = NewKey::make("default", &[Scope::Dispatch]);
        ledger.add_key(&key.row).await?;
        texts.push(key.text);
    }
    Ok(texts)
}

/// Returns a job as an HTTP request.
fn post(batch: &Batch, job: usize, key: &str) -> anyhow::Result<Vec<u8>> {
    let (_, body) = batch.json(job)?;
    let head = format!(
        "POST /v1/dispatches HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Ok([head.as_bytes(), &body].concat())
}
