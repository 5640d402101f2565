//! Publishes the jobs.

use std::time::Duration;

use anyhow::ensure;
use jiff::Timestamp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation};
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

/// Publishes jobs, each with a different id, number and code.
pub(crate) async fn preload(place: &Place, jobs: usize) -> anyhow::Result<()> {
    let connection = broker::connect(&place.amqp_url, "preloading").await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let expires_at = now() + LIFE;
    for window in (0..jobs).step_by(WINDOW) {
        let mut confirms = Vec::with_capacity(WINDOW);
        for i in window..jobs.min(window + WINDOW) {
            let to = format!("+{}", FIRST_NUMBER + i as u64);
            let code = format!("{:06}", i * 7919 % 1_000_000);
            let job = Job { id: Uuid::new_v4(), to: &to, code: &code, expires_at };
            let properties =
                BasicProperties::default().with_delivery_mode(2).with_message_id(job.id.to_string().into());
            // Mandatory, so that a missing queue is an error and not an empty measurement.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let body = serde_json::to_vec(&job)?;
            confirms.push(
                channel
                    .basic_publish(
                        broker::JOBS.into(),
                        broker::DISPATCH_KEY.into(),
                        options,
                        &body,
                        properties,
                    )
                    .await?,
            );
        }
        for confirm in confirms {
            ensure!(confirm.await? == Confirmation::Ack(None), "the broker did not confirm a job");
        }
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}
