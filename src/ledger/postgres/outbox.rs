//! The outbox: events that their receiver does not have yet. A group has one row for each receiver; for a webhook, one for each 16
//! dispatches.
//!
//! A row is deleted when all of its events are delivered: by the next write of decisions, or by `delete_delivered` when
//! none comes.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::Postgres;
use super::columns::{self, EVENT_COLUMNS, Param};
use crate::domain::dispatch::{Event, Order};
use crate::ledger::LedgerError;
use crate::ledger::items::{Destinations, EventBatch, PendingEvents, Receiver, Undelivered, WebhookRow};

/// The events of changed rows, as arrays beside those of the rows: the events as JSON, the ids of the outbox rows for the broker and for
/// a webhook, and the webhook.
pub(super) struct NewEvents {
    event: Vec<Option<String>>,
    broker_row: Vec<Option<Uuid>>,
    webhook_row: Vec<Option<Uuid>>,
    webhook: Vec<Option<String>>,
    pending: Vec<Option<PendingEvents>>,
    /// The row for the broker.
    broker: Uuid,
    /// The row of each webhook that still has room, and its number of dispatches.
    webhooks: BTreeMap<String, (Uuid, usize)>,
}

impl NewEvents {
    pub(super) fn new() -> Self {
        Self {
            event: vec![],
            broker_row: vec![],
            webhook_row: vec![],
            webhook: vec![],
            pending: vec![],
            broker: new_row(),
            webhooks: BTreeMap::new(),
        }
    }

    /// Adds the events of a changed dispatch.
    pub(super) fn push(&mut self, order: &Order, events: &[Event], to: Destinations) {
        if events.is_empty() {
            return self.push_none();
        }
        let pending = PendingEvents::of(order, events.to_vec());
        let is_stored = to.broker || to.webhook;
        self.event.push(is_stored.then(|| serde_json::to_string(&pending).expect("plain values serialise")));
        self.broker_row.push(to.broker.then_some(self.broker));
        let webhook = to.webhook.then(|| Receiver::Webhook(order.tenant.clone()));
        let webhook_row = webhook.as_ref().map(|webhook| self.row_of(webhook, &order.tenant));
        self.webhook_row.push(webhook_row);
        self.webhook.push(webhook.map(|webhook| webhook.to_string()));
        self.pending.push(Some(pending));
    }

    /// Adds a changed dispatch without events.
    pub(super) fn push_none(&mut self) {
        self.event.push(None);
        self.broker_row.push(None);
        self.webhook_row.push(None);
        self.webhook.push(None);
        self.pending.push(None);
    }

    fn row_of(&mut self, webhook: &Receiver, tenant: &str) -> Uuid {
        let (row, dispatches) = self.webhooks.entry(tenant.to_owned()).or_insert_with(|| (new_row(), 0));
        if *dispatches == webhook.max_dispatches() {
            (*row, *dispatches) = (new_row(), 0);
        }
        *dispatches += 1;
        *row
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.iter().all(Option::is_none)
    }

    /// The uids of the rows, which [`INSERT_EVENTS`] needs as its first array.
    pub(super) fn uids(&self) -> Vec<Option<Uuid>> {
        self.pending.iter().map(|pending| Some(pending.as_ref()?.uid)).collect()
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        vec![&self.event, &self.broker_row, &self.webhook_row, &self.webhook]
    }

    /// The batches of the rows that were written. `since` is before the write.
    pub(super) fn batches(self, since: Instant, is_written: impl Fn(&Uuid) -> bool) -> Vec<EventBatch> {
        let mut batches: BTreeMap<(Uuid, Receiver), Vec<PendingEvents>> = BTreeMap::new();
        for ((pending, broker), webhook) in
            self.pending.into_iter().zip(self.broker_row).zip(self.webhook_row)
        {
            let Some(pending) = pending.filter(|pending| is_written(&pending.uid)) else { continue };
            if let Some(row) = webhook {
                let receiver = Receiver::Webhook(pending.tenant.clone());
                batches.entry((row, receiver)).or_default().push(pending.clone());
            }
            let key = broker.map_or((Uuid::nil(), Receiver::LiveStream), |row| (row, Receiver::Broker));
            batches.entry(key).or_default().push(pending);
        }
        let batch = |((row, receiver), events)| EventBatch::leased(since, row, receiver, events);
        batches.into_iter().map(batch).collect()
    }
}

fn new_row() -> Uuid {
    Uuid::from_bytes(crate::seal::random())
}

/// Inserts the events of a table or query, which has the columns `uid` and [`EVENT_COLUMNS`].
pub(super) fn insert_events(from: &str) -> String {
    format!(
        "insert into outbox (id, receiver, due_at, created_at, uids, events)
         select o.id, o.receiver, clock_timestamp() + make_interval(secs => o.lease_s), clock_timestamp(),
                array_agg(c.uid), array_agg(c.event)
           from {from} c
          cross join lateral (values (c.broker_row, '{}', {}), (c.webhook_row, c.webhook, {}))
             as o(id, receiver, lease_s)
          where o.id is not null group by o.id, o.receiver, o.lease_s",
        Receiver::Broker,
        Receiver::Broker.lease().as_secs(),
        Receiver::Webhook(String::new()).lease().as_secs(),
    )
}

/// Inserts the events of [`NewEvents`]. The first array holds the uids.
pub(super) static INSERT_EVENTS: LazyLock<String> = LazyLock::new(|| {
    let columns = columns::names(EVENT_COLUMNS.iter(), "");
    let arrays = columns::arrays(EVENT_COLUMNS.iter(), 2);
    insert_events(&format!("(select * from unnest($1::uuid[], {arrays}) as e(uid, {columns}))"))
});

/// Takes due rows for a lease, the longest due first: as many as have `$2` dispatches, and at least one. Returns them in the order in
/// which they were created. Without any it returns a row with the clock, and whether others hold due rows. The clock is read once, so that
/// it bounds the walk through the index.
const TAKE: &str = "with due as materialized (
        select id, due_at, uids from outbox
         where receiver = $1 and due_at >= $4 and due_at <= (select clock_timestamp())
         order by due_at limit $2 for update skip locked),
     taken as (
        select id, sum(cardinality(uids)) over (order by due_at, id) - cardinality(uids) as before from due),
     leased as (
        update outbox o set due_at = clock_timestamp() + make_interval(secs => $3)
          from taken where o.id = taken.id and taken.before < $2
        returning o.id, o.tries, o.uids, o.events, o.created_at)
     select l.id, l.tries, l.uids, l.events, c.now,
            exists (select from outbox where receiver = $1 and due_at >= $4 and due_at <= (select clock_timestamp()))
       from (select clock_timestamp() as now) c left join leased l on true
      order by l.created_at";

/// Records a try, unless another process has recorded one since.
const RECORD_UNDELIVERED: &str = "update outbox set uids = $2, events = $3, tries = tries + $7, problem = $4,
        due_at = clock_timestamp() + make_interval(secs => $5)
  where id = $1 and tries = $6";

/// Waiting and failed rows, newest first.
const ROWS: &str = "select events, tries, due_at, created_at, problem from outbox
  where receiver = $1 order by created_at desc, id limit $2";

/// Copies a row, with other events.
const SPLIT: &str = "insert into outbox (id, receiver, due_at, created_at, uids, events)
  select $2, receiver, clock_timestamp(), created_at, $3, $4 from outbox where id = $1";

/// Replaces the events of a row.
const KEEP: &str = "update outbox set uids = $2, events = $3 where id = $1";

const REPLAY_ALL: &str = "update outbox set due_at = clock_timestamp(), tries = 0
  where id in (select id from outbox where receiver = $1 and due_at is null limit 1000)
 returning cardinality(uids)";

impl Postgres {
    /// Takes due rows of a receiver for a lease.
    pub(super) async fn take_batches(
        &self, receiver: &Receiver, limit: usize,
    ) -> Result<Vec<EventBatch>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let lease_s = receiver.lease().as_secs_f64();
        let name = receiver.to_string();
        let start = self.scan_starts.of_receiver(&name);
        let from = start.begin();
        let since = Instant::now();
        let rows = self.query(TAKE, &[&name, &limit, &lease_s, &from]).await?;
        let mut batches = vec![];
        for row in &rows {
            let Some(id) = row.get::<_, Option<Uuid>>(0) else {
                if !row.get::<_, bool>(5) {
                    start.record_complete(from, row.get(4));
                }
                continue;
            };
            let texts: Vec<&str> = row.get(3);
            let events = readable(&texts);
            if events.len() < texts.len() && !events.is_empty() {
                self.set_unreadable_aside(id, row.get(2), texts, &events).await?;
            }
            if !events.is_empty() {
                let tries = row.get::<_, i16>(1).unsigned_abs();
                batches.push(EventBatch { tries, ..EventBatch::leased(since, id, receiver.clone(), events) });
            }
        }
        Ok(batches)
    }

    /// Moves the events that this version cannot read to a row of their own, so that they stay when the others are delivered.
    async fn set_unreadable_aside(
        &self, id: Uuid, uids: Vec<Uuid>, texts: Vec<&str>, read: &[PendingEvents],
    ) -> Result<(), LedgerError> {
        let unread = uids.into_iter().zip(texts).filter(|(_, text)| readable(&[text]).is_empty());
        let (unread_uids, unread_texts): (Vec<Uuid>, Vec<&str>) = unread.unzip();
        let ((uids, texts), row) = (arrays(read), new_row());
        let connection = self.connect().await?;
        let steps = [
            connection.step(SPLIT, vec![&id, &row, &unread_uids, &unread_texts]).await?,
            connection.step(KEEP, vec![&id, &uids, &texts]).await?,
        ];
        connection.begin_with(&[]).await?;
        connection.commit_with(&steps, "split").await.map(drop)
    }

    /// Records what a try did not deliver.
    pub(super) async fn record_undelivered_events(&self, left: &Undelivered) -> Result<(), LedgerError> {
        let (uids, events) = arrays(&left.events);
        let pause = left.retry_after.map(|pause| pause.as_secs_f64());
        let tries = i16::try_from(left.tries).unwrap_or(i16::MAX);
        self.execute(
            RECORD_UNDELIVERED,
            &[&left.id, &uids, &events, &left.problem, &pause, &tries, &i16::from(left.counts)],
        )
        .await
        .map(drop)
    }

    /// Deletes the rows that were delivered since the last write.
    pub(super) async fn delete_delivered_rows(&self) -> Result<(), LedgerError> {
        let rows = self.outgoing.take_delivered();
        if rows.is_empty() {
            return Ok(());
        }
        let deleted = self.execute("delete from outbox where id = any($1)", &[&rows]).await;
        if deleted.is_err() {
            self.outgoing.add_delivered(rows);
        }
        deleted.map(drop)
    }

    /// The rows of a receiver that hold events of a dispatch.
    pub(super) async fn undelivered_batches(
        &self, receiver: &Receiver, uid: Uuid,
    ) -> Result<Vec<EventBatch>, LedgerError> {
        let sql = "select id, tries, events from outbox where receiver = $1 and uids @> array[$2::uuid]
                    order by created_at";
        let rows = self.query(sql, &[&receiver.to_string(), &uid]).await?;
        let since = Instant::now();
        let batch = |row: &tokio_postgres::Row| {
            let events = readable(&row.get::<_, Vec<&str>>(2));
            let tries = row.get::<_, i16>(1).unsigned_abs();
            EventBatch { tries, ..EventBatch::leased(since, row.get(0), receiver.clone(), events) }
        };
        Ok(rows.iter().map(batch).collect())
    }

    /// The waiting and failed events of a webhook, newest first.
    pub(super) async fn webhook_events(
        &self, tenant: &str, limit: usize,
    ) -> Result<Vec<WebhookRow>, LedgerError> {
        let webhook = Receiver::Webhook(tenant.to_owned()).to_string();
        let rows = self.query(ROWS, &[&webhook, &i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
        let events = rows.iter().flat_map(|row| {
            let (tries, problem): (i16, Option<String>) = (row.get(1), row.get(4));
            let (due_at, created_at) = (row.get(2), row.get(3));
            let one = move |pending| {
                WebhookRow::of(pending, tries.unsigned_abs(), due_at, created_at, problem.as_deref())
            };
            readable(&row.get::<_, Vec<&str>>(0)).into_iter().flat_map(one).collect::<Vec<_>>()
        });
        Ok(events.take(limit).collect())
    }

    /// Makes failed events of a webhook due again. Returns their number.
    pub(super) async fn replay_webhook_events(
        &self, tenant: &str, only: Option<(Uuid, i64)>,
    ) -> Result<u64, LedgerError> {
        let webhook = Receiver::Webhook(tenant.to_owned()).to_string();
        let Some((uid, version)) = only else {
            let rows = self.query(REPLAY_ALL, &[&webhook]).await?;
            return Ok(rows.iter().map(|row| u64::from(row.get::<_, i32>(0).unsigned_abs())).sum());
        };
        // The event moves to a row of its own, because its row may hold others that have failed.
        let connection = self.connect().await?;
        let lock = "select id, uids, events from outbox
                     where receiver = $1 and due_at is null and uids @> array[$2::uuid] for update";
        let lock = connection.step(lock, vec![&webhook, &uid]).await?;
        let rows = connection.begin_with(&[lock]).await?;
        let is_it = |text: &str| readable(&[text]).iter().any(|pending| pending.has(uid, version));
        let found = rows.iter().flatten().find_map(|row| {
            let (uids, texts): (Vec<Uuid>, Vec<&str>) = (row.get(1), row.get(2));
            let place = texts.iter().position(|text| is_it(text))?;
            Some((row.get::<_, Uuid>(0), place, uids, texts))
        });
        let Some((id, place, mut uids, mut texts)) = found else {
            connection.roll_back().await?;
            return Ok(0);
        };
        let (again_uids, again_texts) = (vec![uids.remove(place)], vec![texts.remove(place)]);
        let row = new_row();
        let clean = "delete from outbox where id = $1 and uids = '{}'";
        let steps = [
            connection.step(SPLIT, vec![&id, &row, &again_uids, &again_texts]).await?,
            connection.step(KEEP, vec![&id, &uids, &texts]).await?,
            connection.step(clean, vec![&id]).await?,
        ];
        connection.commit_with(&steps, "replay").await?;
        Ok(1)
    }

    /// Deletes old rows for webhooks, and those for a broker that is not configured.
    pub(super) async fn forget_old_events(
        &self, created_before: Timestamp, configured: &[Receiver], limit: usize,
    ) -> Result<u64, LedgerError> {
        let configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "delete from outbox where id in (select id from outbox
                    where created_at < $1 and (receiver <> 'broker' or receiver <> all($2)) limit $3)";
        self.execute(sql, &[&created_before, &configured, &limit]).await
    }
}

/// The arrays of an outbox row.
fn arrays(events: &[PendingEvents]) -> (Vec<Uuid>, Vec<String>) {
    let text = |pending| serde_json::to_string(pending).expect("plain values serialise");
    (events.iter().map(|pending| pending.uid).collect(), events.iter().map(text).collect())
}

/// The events that this version can read. Those of another form are logged: another version has written them.
fn readable(texts: &[&str]) -> Vec<PendingEvents> {
    let read = |text: &&str| {
        let pending = serde_json::from_str(text);
        if pending.is_err() {
            tracing::error!(reason = %LedgerError::UnknownForm, "a pending event cannot be read");
        }
        pending.ok()
    };
    texts.iter().filter_map(read).collect()
}
