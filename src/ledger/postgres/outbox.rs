//! The outbox: events that the broker has not confirmed, one row for each group that was committed together.
//!
//! A row is deleted when all of its events are confirmed. This process remembers which of them are. If it forgets, the events are
//! published again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Postgres;
use super::columns::Param;
use super::error::UNKNOWN_FORM;
use crate::domain::dispatch::{Event, Order};
use crate::ledger::LedgerError;
use crate::ledger::items::{EventBatch, PendingEvents, PublishedEvents};

/// Events are published again after this time.
const REPUBLISH_AFTER: Duration = Duration::from_secs(5);
/// How long confirmed events of an unfinished row are remembered. By then another process has taken the row.
const REMEMBER_FOR: Duration = Duration::from_secs(60);

/// The confirmed events of rows that are not confirmed as a whole: by row, the uids of their dispatches.
#[derive(Default)]
pub(super) struct Confirmed(Mutex<HashMap<Uuid, (Instant, HashSet<Uuid>)>>);

impl Confirmed {
    /// Records confirmed events. Returns the rows that are confirmed as a whole.
    fn record(&self, group: impl Iterator<Item = (EventBatch, Uuid)>) -> Vec<Uuid> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut complete = vec![];
        for (batch, uid) in group {
            let (_, uids) = rows.entry(batch.id).or_insert_with(|| (Instant::now(), HashSet::new()));
            uids.insert(uid);
            if uids.len() >= batch.dispatches {
                rows.remove(&batch.id);
                complete.push(batch.id);
            }
        }
        complete
    }

    /// Takes what is known of a row that is about to be published again, and forgets old rows.
    fn take(&self, row: Uuid) -> HashSet<Uuid> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|_, (since, _)| since.elapsed() < REMEMBER_FOR);
        rows.remove(&row).map(|(_, uids)| uids).unwrap_or_default()
    }
}

/// New events of a group: arrays of `uid` and `event`.
#[derive(Default)]
pub(super) struct NewEvents {
    pub(super) batch: Uuid,
    uids: Vec<Uuid>,
    events: Vec<String>,
}

impl NewEvents {
    pub(super) fn new() -> Self {
        Self { batch: Uuid::from_bytes(crate::seal::random()), ..Self::default() }
    }

    pub(super) fn add(&mut self, order: &Order, events: &[Event]) {
        self.uids.push(order.uid);
        self.events.push(text(order, events));
    }

    pub(super) fn len(&self) -> usize {
        self.uids.len()
    }

    pub(super) fn batch(&self) -> Option<EventBatch> {
        batch(self.batch, self.len())
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        vec![&self.batch, &REPUBLISH_AFTER_S, &self.uids, &self.events]
    }
}

pub(super) const REPUBLISH_AFTER_S: f64 = REPUBLISH_AFTER.as_secs() as f64;

/// Inserts the row of [`NewEvents`].
pub(super) const INSERT_EVENTS: &str = "insert into outbox (id, due_at, uids, events)
    values ($1, clock_timestamp() + make_interval(secs => $2), $3::uuid[], $4::text[])";

/// The batch of an outbox row with this many dispatches. `None` without any.
pub(super) fn batch(id: Uuid, dispatches: usize) -> Option<EventBatch> {
    (dispatches > 0).then_some(EventBatch { id, dispatches })
}

/// The events of a dispatch as the outbox stores them.
pub(super) fn text(order: &Order, events: &[Event]) -> String {
    serde_json::to_string(&PendingEvents::of(order, events.to_vec())).expect("plain values serialise")
}

fn read(text: &str) -> Result<PendingEvents, LedgerError> {
    serde_json::from_str(text).map_err(|_| LedgerError::Unusable(UNKNOWN_FORM.to_owned()))
}

impl Postgres {
    /// Takes rows that are due, the longest due first: as many as have `limit` dispatches, and at least one. Each gets a new id, so that
    /// late confirms of an earlier round do not count.
    pub(super) async fn take_pending_events(&self, limit: usize) -> Result<Vec<PendingEvents>, LedgerError> {
        let sql = "with due as materialized (
                select id, due_at, uids from outbox where due_at <= clock_timestamp()
                 order by due_at limit $1 for update skip locked),
             taken as (
                select id, sum(cardinality(uids)) over (order by due_at, id) - cardinality(uids) as before from due)
             update outbox o set id = gen_random_uuid(), due_at = clock_timestamp() + make_interval(secs => $2)
               from taken where o.id = taken.id and taken.before < $1
             returning taken.id, o.id, o.events";
        let rows = self.query(sql, &[&i64::try_from(limit).unwrap_or(i64::MAX), &REPUBLISH_AFTER_S]).await?;
        let (mut pending, mut complete) = (vec![], vec![]);
        for row in &rows {
            let (before, id): (Uuid, Uuid) = (row.get(0), row.get(1));
            let confirmed = self.confirmed.take(before);
            let texts: Vec<&str> = row.get(2);
            let dispatches = texts.len();
            let mut left = vec![];
            for text in texts {
                match read(text) {
                    Ok(events) => left.push(events.in_batch(batch(id, dispatches))),
                    Err(e) => tracing::error!(reason = %e, "a pending event cannot be read"),
                }
            }
            let known: Vec<(EventBatch, Uuid)> = left
                .iter()
                .filter(|events| confirmed.contains(&events.uid))
                .filter_map(|events| Some((events.batch?, events.uid)))
                .collect();
            left.retain(|events| !confirmed.contains(&events.uid));
            complete.extend(self.confirmed.record(known.into_iter()));
            pending.extend(left);
        }
        self.delete_batches(&complete).await?;
        Ok(pending)
    }

    /// Records confirmed events, and deletes the rows that are confirmed as a whole.
    pub(super) async fn record_published(&self, group: &[Arc<PublishedEvents>]) -> Result<(), LedgerError> {
        let confirmed = group.iter().filter_map(|published| Some((published.batch?, published.uid)));
        let complete = self.confirmed.record(confirmed);
        self.delete_batches(&complete).await
    }

    async fn delete_batches(&self, ids: &[Uuid]) -> Result<(), LedgerError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.query("delete from outbox where id = any($1)", &[&ids]).await.map(drop)
    }

    /// The events of a dispatch that are not confirmed yet, by version.
    pub(super) async fn unconfirmed_events(&self, uid: Uuid) -> Result<Vec<PendingEvents>, LedgerError> {
        let sql = "select o.id, cardinality(o.uids), u.event from outbox o, unnest(o.uids, o.events) as u(uid, event)
                    where o.uids @> array[$1::uuid] and u.uid = $1";
        let rows = self.query(sql, &[&uid]).await?;
        let read_one = |row: &tokio_postgres::Row| {
            let dispatches: i32 = row.get(1);
            Ok(read(row.get(2))?.in_batch(batch(row.get(0), usize::try_from(dispatches).unwrap_or(0))))
        };
        let mut pending: Vec<PendingEvents> =
            rows.iter().map(read_one).collect::<Result<_, LedgerError>>()?;
        pending.sort_unstable_by_key(|pending| pending.events.first().map(|event| event.version));
        Ok(pending)
    }
}
