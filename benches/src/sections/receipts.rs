//! Delivery receipts per second. A worker sends the dispatches and stops. Then all receipts, signed as the carrier signs them, are
//! posted to the role `receipts`. The clock runs from the first post until all are recorded. Then a worker brings every dispatch to its
//! final state and publishes the events. Costs are counted until then.

use std::time::Instant;

use anyhow::{Context, ensure};
use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Url;
use sha1::Sha1;
use uuid::Uuid;

use crate::bench::Bench;
use crate::carrier::Request;
use crate::costs::Costs;
use crate::drain::check;
use crate::jobs::{self, Batch};
use crate::keep_alive;
use crate::ledger;
use crate::otpost::AUTH_TOKEN;
use crate::processes::free_ports;
use crate::results::{Results, Sample};
use crate::section::Section;
use crate::setup::Setup;
use crate::standin::StandIn;
use crate::subject::Subject;
use crate::worker::Worker;

/// The case of this section.
pub(crate) const CASE: &str = "all delivered";
/// Connections that post at the same time.
const CONNECTIONS: usize = 128;

pub(crate) async fn measure(bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
    for _ in 0..bench.scale.rounds {
        bench.idle().await?;
        results.add(Section::Receipts, receive(bench).await?);
    }
    Ok(())
}

async fn receive(bench: &Bench) -> anyhow::Result<Sample> {
    let jobs = bench.scale.jobs;
    let [port] = free_ports()?;
    let settings =
        format!("receipts.listen = \"127.0.0.1:{port}\"\nreceipts.public_url = \"http://127.0.0.1:{port}\"");
    let setup = Setup::with_settings(&bench.place, StandIn::recording()?, &settings).await?;
    let (client, since) = (&setup.client, Uuid::now_v7());
    jobs::preload(&bench.place, &Batch::new(jobs)).await?;
    let mut worker = Subject::OTPOST.start(jobs, &setup)?;
    worker
        .until(async |_| {
            Ok(setup.carrier.count().await?.requests >= jobs && ledger::at_rest(client, since).await?)
        })
        .await?;
    worker.stop()?;
    check(&setup, Subject::OTPOST, jobs, since).await?;
    let posts: Vec<Vec<u8>> = setup
        .carrier
        .requests()
        .await?
        .iter()
        .map(|request| post(request, port))
        .collect::<anyhow::Result<_>>()?;

    let mut receiver = Worker::of(vec![setup.otpost.serve(&["receipts"], None)?]);
    receiver.until(async |_| Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())).await?;
    ledger::settle(client).await?;
    tokio::time::sleep(bench.scale.quiet).await;
    let before = (receiver.cpu_us()?, Costs::now(client, &bench.place, &setup.carrier).await?);
    let began = Instant::now();
    keep_alive::send_all(port, CONNECTIONS, posts).await?;
    let seconds = began.elapsed().as_secs_f64();
    // An answer promises that the receipt is recorded. Then nothing is left to wait for.
    let sql = "select count(*) from dispatch where receipt = 'delivered' and uid >= $1";
    let recorded = ledger::count(client, sql, &[&since]).await?;
    ensure!(recorded == jobs, "{recorded} receipts were recorded, not {jobs}");
    let receiver_us = receiver.cpu_us()? - before.0;
    receiver.stop()?;

    let mut worker = Subject::OTPOST.start(jobs, &setup)?;
    let sql = "select count(*) from dispatch where state = 'delivered' and uid >= $1";
    worker
        .until(async |_| {
            Ok(ledger::count(client, sql, &[&since]).await? == jobs && ledger::at_rest(client, since).await?)
        })
        .await?;
    let worker_us = worker.cpu_us()?;
    let costs = Costs::now(client, &bench.place, &setup.carrier).await?.since(&before.1);
    worker.stop()?;
    setup.carrier.expect(jobs).await?;
    let each = |us: u64| us as f64 / jobs as f64;
    Ok(Sample::new(Subject::OTPOST.name(), CASE)
        .with("receipts_per_s", jobs as f64 / seconds)
        .with("receiver_cpu_us", each(receiver_us))
        .with("worker_cpu_us", each(worker_us))
        .with_known("postgres_cpu_us", costs.postgres.map(each))
        .with_known("rabbitmq_cpu_us", costs.rabbitmq.map(each)))
}

/// Returns the receipt of a delivered text as an HTTP request.
fn post(request: &Request, port: u16) -> anyhow::Result<Vec<u8>> {
    let mut url: Url = request.callback.as_deref().context("a request without a callback URL")?.parse()?;
    // The carrier's own options, which are not sent.
    url.set_fragment(None);
    let mut form = [
        ("MessageSid", request.message_id.as_str()),
        ("MessageStatus", "delivered"),
        ("To", &request.number),
    ];
    form.sort_unstable();
    let mut mac = Hmac::<Sha1>::new_from_slice(AUTH_TOKEN.as_bytes())?;
    mac.update(url.as_str().as_bytes());
    let mut body = Url::parse("http://carrier/")?;
    for (name, value) in form {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
        body.query_pairs_mut().append_pair(name, value);
    }
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let (path, body) = (format!("{}{query}", url.path()), body.query().unwrap_or_default());
    Ok(format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-twilio-signature: {signature}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes())
}
