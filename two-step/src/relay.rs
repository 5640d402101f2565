//! Publishes the outbox: jobs and acts go to otpost, mail to its server, events to webhooks. A row is deleted when it was taken;
//! after a crash it goes out again under the same id.

mod crowd;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::crowd::Crowd;
use crate::carrier::{Carrier, Published};
use crate::clock::after;
use crate::flow::{Core, FlowError, Heard};
use crate::mail::{MailError, Mailer};
use crate::metrics;
use crate::push::{Endpoint, Pushed, Vapid};
use crate::seal::Sealed;
use crate::store::{OutboxKind, OutboxRow, Value};

/// Kinds of rows by the server that they go to. A server that hangs holds up its own rows alone.
const WAYS: [&[OutboxKind]; 4] = [
    &[OutboxKind::Dispatch, OutboxKind::Next, OutboxKind::Cancel, OutboxKind::Feedback],
    &[OutboxKind::Mail],
    &[OutboxKind::Webhook],
    &[OutboxKind::Push],
];
/// Rows of one way that are published at once.
const GROUP: usize = 32;
/// Webhooks of one product that are published at once. A receiver that hangs holds up those of its product alone.
const WEBHOOKS_OF_PRODUCT: usize = 8;
/// A relay that was killed holds its rows for so long.
const LEASE: Duration = Duration::from_secs(15);
/// How long publishing a row may take. The row is tried again before its lease ends.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The outbox is looked at so often, besides when a commit wakes the relay.
const LOOK: Duration = Duration::from_millis(500);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Publishes the rows of the outbox.
pub struct Relay {
    /// The rows.
    pub core: Arc<Core>,
    /// The way to otpost.
    pub carrier: Arc<dyn Carrier>,
    /// The way to mailboxes.
    pub mailer: Option<Mailer>,
    /// The way to webhooks and push services.
    pub client: reqwest::Client,
    /// Signs pushes.
    pub vapid: Vapid,
    /// How many webhooks of each product are under way.
    pub webhooks: Crowd,
}

/// The outcome of a try.
enum Outcome {
    Done,
    Again { reason: String },
}

impl Relay {
    /// Works until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let relay = Arc::new(self);
        futures_util::future::join_all(WAYS.map(|kinds| Arc::clone(&relay).run_way(kinds, &stop))).await;
    }

    /// Takes rows of some kinds while there is room beside those that are under way: one that hangs keeps no other waiting. Each
    /// row has a task of its own, because this loop waits for the database, and must not keep one from ending its transaction.
    async fn run_way(self: Arc<Self>, kinds: &'static [OutboxKind], stop: &CancellationToken) {
        let mut under_way = JoinSet::new();
        let mut look = true;
        while !stop.is_cancelled() {
            // Made before the look: a commit meanwhile wakes too.
            let filled = self.core.outbox_filled.notified();
            let room = GROUP - under_way.len();
            // After each row that is done a look would cost more than the row.
            if room > 0 && (look || room >= GROUP / 2) {
                match self.take(kinds, room).await {
                    Ok(rows) => {
                        for row in rows {
                            let relay = Arc::clone(&self);
                            under_way.spawn(async move { relay.publish(row).await });
                        }
                    }
                    Err(e) => tracing::warn!(reason = %e, "the outbox cannot be read"),
                }
            }
            look = tokio::select! {
                () = stop.cancelled() => false,
                () = filled => true,
                () = tokio::time::sleep(LOOK) => true,
                Some(_) = under_way.join_next() => false,
            };
        }
        under_way.join_all().await;
    }

    /// Takes so many due rows under a lease. Of one subject only the oldest: a job goes out before its acts.
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
        // Nothing is put off for longer: where the clock has stepped back, the row is due.
        let latest = after(now, LONGEST_PAUSE);
        let values =
            [Value::Int(now.as_millisecond()), Value::Int(latest.as_millisecond()), Value::Int(count as i64)];
        let mut rows = tx.select::<OutboxRow>(&due, &values).await?;
        for row in &mut rows {
            row.tries += 1;
            row.next_at = after(now, LEASE);
            tx.update(row).await?;
        }
        tx.commit().await?;
        let (over, live): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.not_after <= now);
        for row in over {
            tracing::warn!(kind = %row.kind, subject = %row.subject, tries = row.tries, "outbox row expired and was dropped");
            self.core.metrics.published(row.kind, metrics::Outcome::Dropped);
            if let Err(e) = self.drop_row(&row).await {
                tracing::warn!(reason = %e, kind = %row.kind, "expired outbox row not deleted: it will be retried");
            }
        }
        Ok(live)
    }

    /// Deletes a row whose time is over, and says so on the page that waits for it.
    async fn drop_row(&self, row: &OutboxRow) -> Result<(), FlowError> {
        match row.kind {
            OutboxKind::Dispatch => self.core.given_up(row.subject).await?,
            OutboxKind::Mail => self.core.mail_refused(row.subject).await?,
            _ => {}
        }
        self.forget(row).await
    }

    async fn publish(&self, row: OutboxRow) {
        let outcome = match self.open(&row) {
            Ok(body) => {
                let trying = tokio::time::timeout(TIMEOUT, self.try_once(&row, &body)).await;
                trying.unwrap_or_else(|_| Ok(Outcome::Again { reason: "no answer in time".to_owned() }))
            }
            Err(e) => Ok(Outcome::Again { reason: e.to_string() }),
        };
        let settled = match outcome {
            Ok(Outcome::Done) => {
                self.core.metrics.published(row.kind, metrics::Outcome::Done);
                self.forget(&row).await
            }
            Ok(Outcome::Again { reason }) => {
                self.core.metrics.published(row.kind, metrics::Outcome::Again);
                self.put_off(&row, &reason).await
            }
            Err(e) => Err(e),
        };
        if let Err(e) = settled {
            tracing::warn!(reason = %e, kind = %row.kind, "outbox row will be retried after its lease");
        }
    }

    fn open(&self, row: &OutboxRow) -> Result<Json, FlowError> {
        let plain = self.core.keys.open(Sealed::Outbox, row.id, &row.body_sealed)?;
        serde_json::from_slice(&plain).map_err(|_| FlowError::Internal("a body of the outbox is no JSON"))
    }

    async fn try_once(&self, row: &OutboxRow, body: &Json) -> Result<Outcome, FlowError> {
        match row.kind {
            OutboxKind::Mail => {
                let Some(mailer) = &self.mailer else {
                    tracing::warn!("a mail is dropped: smtp.url is not set");
                    self.core.mail_refused(row.subject).await?;
                    return Ok(Outcome::Done);
                };
                Ok(match mailer.send(body).await {
                    Ok(()) => {
                        self.core.mail_sent(row.subject).await?;
                        Outcome::Done
                    }
                    Err(MailError::Refused) => {
                        tracing::warn!("a mail is dropped: the mail server refuses it");
                        self.core.mail_refused(row.subject).await?;
                        Outcome::Done
                    }
                    Err(e @ MailError::Away) => Outcome::Again { reason: e.to_string() },
                })
            }
            OutboxKind::Webhook => {
                let product = body["product"].as_str().unwrap_or_default();
                let Some(_place) = self.webhooks.enter(product, WEBHOOKS_OF_PRODUCT) else {
                    return Ok(Outcome::Again { reason: "the product's receiver is slow".to_owned() });
                };
                Ok(match webhook::post(&self.core.config(), &self.client, body).await {
                    Ok(()) => Outcome::Done,
                    Err(reason) => Outcome::Again { reason },
                })
            }
            OutboxKind::Push => self.push(body).await,
            kind => match self.carrier.publish(kind, body).await {
                Ok(published) => self.settle(row, published).await,
                Err(away) => Ok(Outcome::Again { reason: away.0 }),
            },
        }
    }

    /// Wakes an app. An address that nobody listens at any more is forgotten.
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
                self.core.push_ended(method.unwrap_or_default(), text).await?;
                Ok(Outcome::Done)
            }
            Err(reason) => Ok(Outcome::Again { reason }),
        }
    }

    /// What otpost's answer means for the dispatch.
    async fn settle(&self, row: &OutboxRow, published: Published) -> Result<Outcome, FlowError> {
        match (row.kind, published) {
            (OutboxKind::Dispatch, Published::Refused { state, reason, retry_after_s }) => {
                let heard =
                    Heard { dispatch: row.subject, sequence: 1, state, channel: None, reason, retry_after_s };
                self.core.hear(&heard).await?;
            }
            (OutboxKind::Dispatch, _) => self.core.confirmed(row.subject).await?,
            (OutboxKind::Next, Published::NoNextStep) => self.core.call_anew(row.subject).await?,
            _ => {}
        }
        Ok(Outcome::Done)
    }

    async fn forget(&self, row: &OutboxRow) -> Result<(), FlowError> {
        let mut tx = self.core.store.begin().await?;
        tx.delete::<OutboxRow>(row.id).await?;
        Ok(tx.commit().await?)
    }

    async fn put_off(&self, row: &OutboxRow, reason: &str) -> Result<(), FlowError> {
        let pause = Duration::from_millis(250 << row.tries.min(7)).min(LONGEST_PAUSE);
        tracing::warn!(kind = %row.kind, tries = row.tries, retry_ms = pause.as_millis() as u64, reason, "publish failed: it will be retried");
        let mut tx = self.core.store.begin().await?;
        let now = tx.now().await?;
        tx.update(&OutboxRow { next_at: after(now, pause), ..row.clone() }).await?;
        Ok(tx.commit().await?)
    }
}
