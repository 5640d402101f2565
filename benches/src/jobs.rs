//! Jobs, and their publication.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker;
use crate::place::Place;

/// The first number. The others follow it. All are possible British mobile numbers.
const FIRST_NUMBER: u64 = 447_400_000_000;
/// Lifetime of a code. otpost accepts an hour at most.
const LIFE: Duration = Duration::from_mins(59);
/// Number of confirms that are awaited together.
const WINDOW: usize = 1000;

/// The next number that no job of this process has.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(FIRST_NUMBER);

/// The JSON of a job, without default values.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job<'a> {
    pub(crate) id: Uuid,
    pub(crate) to: &'a str,
    pub(crate) code: &'a str,
    pub(crate) expires_at: Timestamp,
}

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "no test of the benchmark needs to hold the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Jobs with consecutive numbers. No other batch of this process has one of them, so no job meets a full quota.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    first: u64,
    pub(crate) jobs: usize,
    expires_at: Timestamp,
}

impl Batch {
    pub(crate) fn new(jobs: usize) -> Self {
        let first = NEXT_NUMBER.fetch_add(jobs as u64, Ordering::Relaxed);
        Self { first, jobs, expires_at: now() + LIFE }
    }

    /// Returns the number of a job.
    pub(crate) fn number(&self, job: usize) -> String {
        format!("+{}", self.first + job as u64)
    }

    /// Returns the job with this number.
    pub(crate) fn position(&self, number: &str) -> Option<usize> {
        let number: u64 = number.trim_start_matches('+').parse().ok()?;
        let job = number.checked_sub(self.first)? as usize;
        (job < self.jobs).then_some(job)
    }

    /// Returns the JSON of a job with a new id.
    pub(crate) fn json(&self, job: usize) -> anyhow::Result<(Uuid, Vec<u8>)> {
        let id = Uuid::new_v4();
        let code = format!("{:06}", job * 7919 % 1_000_000);
        let to = self.number(job);
        let json = Job { id, to: &to, code: &code, expires_at: self.expires_at };
        Ok((id, serde_json::to_vec(&json)?))
    }
}

/// Publishes jobs. Returns when the broker has confirmed all of them.
pub(crate) async fn preload(place: &Place, batch: &Batch) -> anyhow::Result<()> {
    let connection = broker::connect(&place.amqp_url, "preloading").await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    for window in (0..batch.jobs).step_by(WINDOW) {
        let mut confirms = Vec::with_capacity(WINDOW);
        for job in window..batch.jobs.min(window + WINDOW) {
            confirms.push(publish(&channel, batch, job).await?);
        }
        for confirm in confirms {
            ensure!(confirm.await? == Confirmation::Ack(None), "the broker did not confirm a job");
        }
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// Publishes `rate` jobs per second, without waiting for confirms. Returns the times at which the jobs were scheduled: a job that is
/// published late keeps its scheduled time.
pub(crate) async fn publish_at(place: &Place, batch: Batch, rate: f64) -> anyhow::Result<Vec<Timestamp>> {
    let connection = broker::connect(&place.amqp_url, "publishing at a fixed rate").await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let runtime = tokio::runtime::Handle::current();
    // A thread sleeps more exactly than the runtime, whose timers count milliseconds.
    let publishing = tokio::task::spawn_blocking(move || {
        let (began, began_at) = (Instant::now(), now());
        let (mut schedule, mut confirms) = (Vec::with_capacity(batch.jobs), Vec::with_capacity(batch.jobs));
        for job in 0..batch.jobs {
            let due = Duration::from_secs_f64(job as f64 / rate);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            schedule.push(began_at + due);
            confirms.push(runtime.block_on(publish(&channel, &batch, job))?);
        }
        anyhow::Ok((channel, schedule, confirms))
    });
    // The channel stays open until all jobs are confirmed.
    let (_channel, schedule, confirms) = publishing.await.context("the publisher failed")??;
    for confirm in confirms {
        ensure!(confirm.await? == Confirmation::Ack(None), "the broker did not confirm a job");
    }
    connection.close(200, "done".into()).await?;
    Ok(schedule)
}

async fn publish(channel: &Channel, batch: &Batch, job: usize) -> anyhow::Result<PublisherConfirm> {
    let (id, body) = batch.json(job)?;
    let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(id.to_string().into());
    // Mandatory, so that a missing queue is an error and not an empty measurement.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let key = broker::DISPATCH_KEY.into();
    Ok(channel.basic_publish(broker::JOBS.into(), key, options, &body, properties).await?)
}
