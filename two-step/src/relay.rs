//! Publishes the outbox: jobs and commands to otpost, mail to its server, events to webhooks. A row is deleted after the
//! receiver accepted it. After a crash it is sent again with the same id.

mod concurrency;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::concurrency::ConcurrencyLimit;
use crate::clock::after;
use crate::flow::{Core, DispatchEvent, FlowError};
use crate::mail::{MailError, Mailer};
use crate::metrics;
use crate::otpost_client::{OtpostClient, Published};
use crate::push::{Endpoint, Pushed, Vapid};
use crate::seal::Sealed;
use crate::store::{OutboxKind, OutboxRow, Value};

/// The kinds of rows that go to the same server. A server that does not answer delays its own rows only.
const QUEUES: [&[OutboxKind]; 4] = [
    &[OutboxKind::Dispatch, OutboxKind::Next, OutboxKind::Cancel, OutboxKind::Feedback],
    &[OutboxKind::Mail],
    &[OutboxKind::Webhook],
    &[OutboxKind::Push],
];
/// Maximum number of rows of one queue that are published concurrently.
const MAX_CONCURRENT_ROWS: usize = 32;
/// Maximum number of concurrent webhook requests of one product. A slow receiver delays its own product only.
const MAX_WEBHOOKS_PER_PRODUCT: usize = 8;
/// Lease of a row. After a crash of the relay, the row is published again when its lease ends.
const LEASE: Duration = Duration::from_secs(15);
/// Time-out of publishing one row. It is shorter than the lease.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(12);
/// Interval of the outbox query. A commit wakes the relay earlier.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Publishes the rows of the outbox.
pub struct Relay {
    /// The flows and the store.
    pub core: Arc<Core>,
    /// The connection to otpost.
    pub otpost: Arc<dyn OtpostClient>,
    /// The mail client; `None` if no mail server is configured.
    pub mailer: Option<Mailer>,
    /// The HTTP client for webhooks and push services.
    pub client: reqwest::Client,
    /// The key that signs pushes.
    pub vapid: Vapid,
    /// Limits the concurrent webhook requests of each product.
    pub webhooks: ConcurrencyLimit,
}

/// The result of one attempt.
enum Outcome {
    Done,
    Retry { reason: String },
}

impl Relay {
    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let relay = Arc::new(self);
        futures_util::future::join_all(QUEUES.map(|kinds| Arc::clone(&relay).run_queue(kinds, &stop))).await;
    }

    /// Publishes rows of these kinds while permits are free. A row that hangs does not block the others. Each row has
    /// its own task: this loop waits for the database, and must not delay the end of a row's transaction.
    async fn run_queue(self: Arc<Self>, kinds: &'static [OutboxKind], stop: &CancellationToken) {
        let mut in_flight = JoinSet::new();
        let mut poll = true;
        while !stop.is_cancelled() {
            // Registered before the query, so that a commit during the query wakes the loop again.
            let filled = self.core.outbox_filled.notified();
            let room = MAX_CONCURRENT_ROWS - in_flight.len();
            // A query after every finished row would cost more than publishing it.
            if room > 0 && (poll || room >= MAX_CONCURRENT_ROWS / 2) {
                match self.take(kinds, room).await {
                    Ok(rows) => {
                        for row in rows {
                            let relay = Arc::clone(&self);
                            in_flight.spawn(async move { relay.publish(row).await });
                        }
                    }
                    Err(e) => tracing::warn!(reason = %e, "cannot query the outbox"),
                }
            }
            poll = tokio::select! {
                () = stop.cancelled() => false,
                () = filled => true,
                () = tokio::time::sleep(POLL_INTERVAL) => true,
                Some(_) = in_flight.join_next() => false,
            };
        }
        in_flight.join_all().await;
    }

    /// Takes up to `count` due rows under a lease. Takes only the oldest row of a subject: a job is published before its
    /// commands.
    async fn take(&self, kinds: &[OutboxKind], count: usize) -> Result<Vec<OutboxRow>, FlowError> {
        let mut tx = self.core.store.begin().await?;
        let now = tx.now().await?;
        let lock = tx.locks("for update skip locked");
        let kinds = kinds.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
        let due = format!(
            "where kind in ({kinds}) and (next_at <= $1 or next_at > $2 or tries = 0) \
             and not exists (select 1 from outbox e where e.subject = outbox.subject and e.id < outbox.id) \
             order by next_at limit $3 {lock}"
        );
        // No row is scheduled later than this. If the clock was set back, the row is due.
        let latest = after(now, MAX_BACKOFF);
        let values =
            [Value::Int(now.as_millisecond()), Value::Int(latest.as_millisecond()), Value::Int(count as i64)];
        let mut rows = tx.select::<OutboxRow>(&due, &values).await?;
        for row in &mut rows {
            row.tries += 1;
            row.next_at = after(now, LEASE);
            tx.update(row).await?;
        }
        tx.commit().await?;
        let (expired, live): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.not_after <= now);
        for row in expired {
            tracing::warn!(kind = %row.kind, subject = %row.subject, tries = row.tries, "an outbox row expired and was deleted");
            self.core.metrics.count_outbox_row(row.kind, metrics::Outcome::Dropped);
            if let Err(e) = self.drop_expired(&row).await {
                tracing::warn!(reason = %e, kind = %row.kind, "an expired outbox row was not deleted; the next run tries again");
            }
        }
        Ok(live)
    }

    /// Deletes an expired row, and marks its code as not sent.
    async fn drop_expired(&self, row: &OutboxRow) -> Result<(), FlowError> {
        match row.kind {
            OutboxKind::Dispatch => self.core.dispatch_expired(row.subject).await?,
            OutboxKind::Mail => self.core.mail_refused(row.subject).await?,
            _ => {}
        }
        self.delete(row).await
    }

    async fn publish(&self, row: OutboxRow) {
        let outcome = match self.open(&row) {
            Ok(body) => {
                let attempt = tokio::time::timeout(PUBLISH_TIMEOUT, self.try_once(&row, &body)).await;
                attempt.unwrap_or_else(|_| Ok(Outcome::Retry { reason: "no answer in time".to_owned() }))
            }
            Err(e) => Ok(Outcome::Retry { reason: e.to_string() }),
        };
        let finished = match outcome {
            Ok(Outcome::Done) => {
                self.core.metrics.count_outbox_row(row.kind, metrics::Outcome::Done);
                self.delete(&row).await
            }
            Ok(Outcome::Retry { reason }) => {
                self.core.metrics.count_outbox_row(row.kind, metrics::Outcome::Again);
                self.schedule_retry(&row, &reason).await
            }
            Err(e) => Err(e),
        };
        if let Err(e) = finished {
            tracing::warn!(reason = %e, kind = %row.kind, "an outbox row failed; it is retried after its lease");
        }
    }

    fn open(&self, row: &OutboxRow) -> Result<Json, FlowError> {
        let plain = self.core.keys.open(Sealed::Outbox, row.id, &row.body_sealed)?;
        serde_json::from_slice(&plain)
            .map_err(|_| FlowError::Internal("the body of an outbox row is not JSON"))
    }

    async fn try_once(&self, row: &OutboxRow, body: &Json) -> Result<Outcome, FlowError> {
        match row.kind {
            OutboxKind::Mail => {
                let Some(mailer) = &self.mailer else {
                    tracing::warn!("a mail was deleted: smtp.url is not set");
                    self.core.mail_refused(row.subject).await?;
                    return Ok(Outcome::Done);
                };
                Ok(match mailer.send(body).await {
                    Ok(()) => {
                        self.core.mail_sent(row.subject).await?;
                        Outcome::Done
                    }
                    Err(MailError::Refused) => {
                        tracing::warn!("a mail was deleted: the mail server rejected it");
                        self.core.mail_refused(row.subject).await?;
                        Outcome::Done
                    }
                    Err(e @ MailError::Unavailable) => Outcome::Retry { reason: e.to_string() },
                })
            }
            OutboxKind::Webhook => {
                let product = body["product"].as_str().unwrap_or_default();
                let Some(_permit) = self.webhooks.acquire(product, MAX_WEBHOOKS_PER_PRODUCT) else {
                    return Ok(Outcome::Retry {
                        reason: "too many concurrent webhook requests of this product".to_owned(),
                    });
                };
                Ok(match webhook::post(&self.core.config(), &self.client, body).await {
                    Ok(()) => Outcome::Done,
                    Err(reason) => Outcome::Retry { reason },
                })
            }
            OutboxKind::Push => self.push(body).await,
            kind => match self.otpost.publish(kind, body).await {
                Ok(published) => self.apply_result(row, published).await,
                Err(unavailable) => Ok(Outcome::Retry { reason: unavailable.0 }),
            },
        }
    }

    /// Sends a push. Deletes an endpoint that does not exist any more.
    async fn push(&self, body: &Json) -> Result<Outcome, FlowError> {
        let (text, config) = (body["endpoint"].as_str().unwrap_or_default(), self.core.config());
        let Some(endpoint) = Endpoint::read(text, &config).filter(|_| config.app.push) else {
            return Ok(Outcome::Done);
        };
        let subject = config.public_url.as_str();
        let now = crate::clock::machine_now();
        match crate::push::push(&self.client, &self.vapid, &endpoint, subject, now).await {
            Ok(Pushed::Taken | Pushed::Refused) => Ok(Outcome::Done),
            Ok(Pushed::Gone) => {
                let method = body["method"].as_str().and_then(|id| id.parse().ok());
                self.core.delete_push_endpoint(method.unwrap_or_default(), text).await?;
                Ok(Outcome::Done)
            }
            Err(reason) => Ok(Outcome::Retry { reason }),
        }
    }

    /// Applies otpost's answer to the dispatch.
    async fn apply_result(&self, row: &OutboxRow, published: Published) -> Result<Outcome, FlowError> {
        match (row.kind, published) {
            (OutboxKind::Dispatch, Published::Refused { state, reason, retry_after_s }) => {
                let event = DispatchEvent {
                    dispatch: row.subject,
                    sequence: 1,
                    state,
                    channel: None,
                    reason,
                    retry_after_s,
                };
                self.core.receive_event(&event).await?;
            }
            (OutboxKind::Dispatch, _) => self.core.dispatch_confirmed(row.subject).await?,
            (OutboxKind::Next, Published::NoNextStep) => self.core.place_call_again(row.subject).await?,
            _ => {}
        }
        Ok(Outcome::Done)
    }

    async fn delete(&self, row: &OutboxRow) -> Result<(), FlowError> {
        let mut tx = self.core.store.begin().await?;
        tx.delete::<OutboxRow>(row.id).await?;
        Ok(tx.commit().await?)
    }

    async fn schedule_retry(&self, row: &OutboxRow, reason: &str) -> Result<(), FlowError> {
        let pause = Duration::from_millis(250 << row.tries.min(7)).min(MAX_BACKOFF);
        tracing::warn!(kind = %row.kind, tries = row.tries, retry_ms = pause.as_millis() as u64, reason, "publish failed; it is retried");
        let mut tx = self.core.store.begin().await?;
        let now = tx.now().await?;
        tx.update(&OutboxRow { next_at: after(now, pause), ..row.clone() }).await?;
        Ok(tx.commit().await?)
    }
}
