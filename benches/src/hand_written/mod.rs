//! Hand-written workers for comparison, which only process jobs.
//!
//! Simple: consume, insert a claim, POST, update, ack, each job by itself. Reference: the same with an exact quota, an
//! attempt that is committed before the request, and one confirmed event, written in groups with pinned plans.
//! Statements are prepared and pipelined, connections are kept, jobs run in parallel, and one ack covers all jobs that have finished in
//! a row.

mod acks;
mod events;
mod groups;
mod store;

use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use futures_util::{StreamExt, TryStreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use serde::Deserialize;
use uuid::Uuid;

use crate::broker;
use crate::jobs::Job;
use crate::worker::DONE;
use acks::Acks;
use events::Events;
use store::Store;

/// Number of parallel jobs. Of 64, 128 and 256 it gives the best rate on two processors, for either of them.
pub(crate) const PARALLEL_JOBS: usize = 256;
/// Like otpost's default.
const PREFETCH: u16 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HandWritten {
    /// Consume, insert a claim, POST, update, ack
    Simple,
    /// The same with an exact quota, an attempt before the request and one confirmed event
    Reference,
}

impl HandWritten {
    /// Returns its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Reference => "reference",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(value_enum)]
    pub(crate) which: HandWritten,
    /// Number of jobs until the end
    #[arg(long)]
    pub(crate) jobs: usize,
    #[arg(long)]
    pub(crate) slots: usize,
    #[arg(long)]
    pub(crate) amqp_url: String,
    #[arg(long)]
    pub(crate) ledger_url: String,
    #[arg(long)]
    pub(crate) carrier: String,
}

struct Worker {
    store: Store,
    events: Option<Events>,
    http: reqwest::Client,
    url: String,
    acks: Acks,
}

/// Processes the jobs, prints a line, and waits until it is killed.
pub(crate) async fn work(options: Options) -> anyhow::Result<()> {
    let connection = broker::connect(&options.amqp_url, "worker consuming").await?;
    let channel = connection.create_channel().await?;
    let account = "AC00000000000000000000000000000000";
    let worker = Arc::new(Worker {
        store: Store::connect(options.which, &options.ledger_url).await?,
        events: match options.which {
            HandWritten::Simple => None,
            HandWritten::Reference => Some(Events::connect(&options.amqp_url).await?),
        },
        http: reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?,
        acks: Acks::start(channel.clone()),
        url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", options.carrier),
    });
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let consuming = BasicConsumeOptions::default();
    let consumer = channel
        .basic_consume(broker::DISPATCH.into(), "worker".into(), consuming, FieldTable::default())
        .await?;
    consumer
        .map_err(anyhow::Error::from)
        .take(options.jobs)
        .try_for_each_concurrent(options.slots, |delivery| {
            let worker = Arc::clone(&worker);
            // A separate task for each job, so that jobs use all processors.
            async move { tokio::spawn(async move { worker.job(delivery).await }).await? }
        })
        .await?;
    println!("{DONE}");
    // The connection stays open: RabbitMQ drops acks of a closed channel that it has not applied yet.
    std::future::pending().await
}

#[derive(Deserialize)]
struct Accepted<'a> {
    sid: &'a str,
}

impl Worker {
    async fn job(&self, delivery: Delivery) -> anyhow::Result<()> {
        let job: Job = serde_json::from_slice(&delivery.data)?;
        let claim = Uuid::new_v4();
        if self.store.claim(job.id, job.to, job.expires_at, claim).await? {
            let answer = self.post(&job).await?;
            let accepted: Accepted = serde_json::from_slice(&answer)?;
            ensure!(self.store.finish(job.id, claim, accepted.sid).await?, "a claim is lost");
            if let Some(events) = &self.events {
                events.sent(job.id).await?;
            }
        }
        self.acks.ack(delivery.delivery_tag)
    }

    async fn post(&self, job: &Job<'_>) -> anyhow::Result<Vec<u8>> {
        let text = format!("{} is your Example code.", job.code);
        let callback = format!("http://127.0.0.1:8081/receipts/{}", job.id);
        let form = [("To", job.to), ("From", "+15005550006"), ("Body", &text), ("StatusCallback", &callback)];
        let request = self.http.post(&self.url).basic_auth("AC0", Some("token")).form(&form);
        let response = request.send().await?;
        ensure!(response.status() == 201, "the carrier refused");
        Ok(response.bytes().await.context("the carrier closed the connection")?.to_vec())
    }
}
