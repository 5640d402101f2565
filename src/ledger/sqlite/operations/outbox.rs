//! The outbox: one row for the events of each dispatch and receiver.

use std::time::Instant;

use jiff::Timestamp;
use rusqlite::Connection;
use uuid::Uuid;

use super::Fault;
use crate::domain::clock::after;
use crate::domain::dispatch::{Event, Order};
use crate::ledger::LedgerError;
use crate::ledger::items::{Destinations, EventBatch, PendingEvents, Receiver, Undelivered, WebhookRow};
use crate::ledger::sqlite::row::time;

/// Stores the events of a dispatch for each receiver. Returns them for the publisher of this process.
pub(super) fn insert(
    db: &Connection, order: &Order, events: &[Event], to: Destinations, now: Timestamp,
) -> Result<Vec<EventBatch>, Fault> {
    if events.is_empty() {
        return Ok(vec![]);
    }
    let pending = PendingEvents::of(order, events.to_vec());
    let since = Instant::now();
    let first = if to.broker { Receiver::Broker } else { Receiver::LiveStream };
    let webhook = to.webhook.then(|| Receiver::Webhook(order.tenant.clone()));
    let mut batches = vec![];
    for receiver in std::iter::once(first).chain(webhook) {
        let id = Uuid::from_bytes(crate::seal::random());
        if receiver != Receiver::LiveStream {
            let due_at = after(now, receiver.lease());
            insert_row(db, id, &receiver.to_string(), (due_at, now), &pending)?;
        }
        batches.push(EventBatch::leased(since, id, receiver, vec![pending.clone()]));
    }
    Ok(batches)
}

fn insert_row(
    db: &Connection, id: Uuid, receiver: &str, (due_at, created_at): (Timestamp, Timestamp),
    pending: &PendingEvents,
) -> Result<(), Fault> {
    let sql =
        "insert into outbox (id, receiver, due_at, created_at, uid, events) values (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(sql)?.execute((
        id.to_string(),
        receiver,
        due_at.as_microsecond(),
        created_at.as_microsecond(),
        pending.uid.to_string(),
        serde_json::to_string(pending)?,
    ))?;
    Ok(())
}

/// Takes due rows of a receiver for a lease, the longest due first.
pub(in crate::ledger::sqlite) fn take_events(
    db: &Connection, receiver: &Receiver, limit: usize, now: Timestamp,
) -> Result<Vec<EventBatch>, Fault> {
    let sql =
        "select id, tries, events from outbox where receiver = ?1 and due_at <= ?2 order by due_at limit ?3";
    let due: Vec<(String, u16, String)> = db
        .prepare_cached(sql)?
        .query_map((receiver.to_string(), now.as_microsecond(), limit as i64), |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let (since, lease_end) = (Instant::now(), after(now, receiver.lease()).as_microsecond());
    let mut batches = vec![];
    for (id, tries, events) in due {
        db.prepare_cached("update outbox set due_at = ?2 where id = ?1")?.execute((&id, lease_end))?;
        let Some(pending) = readable(&events) else { continue };
        let id = id.parse().map_err(|_| Fault::UnknownForm)?;
        batches.push(EventBatch { tries, ..EventBatch::leased(since, id, receiver.clone(), vec![pending]) });
    }
    Ok(batches)
}

pub(in crate::ledger::sqlite) fn record_undelivered(
    db: &Connection, left: &Undelivered, now: Timestamp,
) -> Result<(), Fault> {
    let sql = "update outbox set events = ?2, tries = tries + ?6, problem = ?3, due_at = ?4 where id = ?1 and tries = ?5";
    let due_at = time(left.retry_after.map(|pause| after(now, pause)));
    for pending in &left.events {
        let events = serde_json::to_string(pending)?;
        db.prepare_cached(sql)?.execute((
            left.id.to_string(),
            events,
            &left.problem,
            &due_at,
            left.tries,
            left.counts,
        ))?;
    }
    Ok(())
}

pub(in crate::ledger::sqlite) fn delete(db: &Connection, rows: &[Uuid]) -> Result<(), Fault> {
    for row in rows {
        db.prepare_cached("delete from outbox where id = ?1")?.execute([row.to_string()])?;
    }
    Ok(())
}

pub(in crate::ledger::sqlite) fn undelivered(
    db: &Connection, receiver: &Receiver, uid: Uuid,
) -> Result<Vec<EventBatch>, Fault> {
    let sql = "select id, tries, events from outbox where receiver = ?1 and uid = ?2 order by created_at";
    let rows: Vec<(String, u16, String)> = db
        .prepare_cached(sql)?
        .query_map((receiver.to_string(), uid.to_string()), |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let (since, mut batches) = (Instant::now(), vec![]);
    for (id, tries, events) in rows {
        let Some(pending) = readable(&events) else { continue };
        let id = id.parse().map_err(|_| Fault::UnknownForm)?;
        batches.push(EventBatch { tries, ..EventBatch::leased(since, id, receiver.clone(), vec![pending]) });
    }
    Ok(batches)
}

/// The events in a row. Those of a form that only another version knows are logged, and stay.
fn readable(text: &str) -> Option<PendingEvents> {
    let pending = serde_json::from_str(text).ok();
    if pending.is_none() {
        tracing::error!(reason = %LedgerError::UnknownForm, "a pending event cannot be read");
    }
    pending
}

pub(in crate::ledger::sqlite) fn webhook_rows(
    db: &Connection, tenant: &str, limit: usize,
) -> Result<Vec<WebhookRow>, Fault> {
    let sql = "select events, tries, due_at, created_at, problem from outbox
                where receiver = ?1 order by created_at desc, id limit ?2";
    let webhook = Receiver::Webhook(tenant.to_owned()).to_string();
    let at = |us| Timestamp::from_microsecond(us).map_err(|_| Fault::UnknownForm);
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query((webhook, limit as i64))?;
    let mut events = vec![];
    while let Some(row) = rows.next()? {
        let Some(pending) = readable(&row.get::<_, String>(0)?) else { continue };
        let (tries, problem): (u16, Option<String>) = (row.get(1)?, row.get(4)?);
        let due_at = row.get::<_, Option<i64>>(2)?.map(at).transpose()?;
        events.extend(WebhookRow::of(pending, tries, due_at, at(row.get(3)?)?, problem.as_deref()));
    }
    events.truncate(limit);
    Ok(events)
}

pub(in crate::ledger::sqlite) fn replay_webhooks(
    db: &Connection, tenant: &str, only: Option<(Uuid, i64)>, now: Timestamp,
) -> Result<u64, Fault> {
    let sql = "select id, events from outbox where receiver = ?1 and due_at is null and (?2 is null or uid = ?2) limit 1000";
    let webhook = Receiver::Webhook(tenant.to_owned()).to_string();
    let uid = only.map(|(uid, _)| uid.to_string());
    let failed: Vec<(String, String)> = db
        .prepare_cached(sql)?
        .query_map((webhook, uid), |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut replayed = 0;
    for (id, events) in failed {
        let is_it = |uid, version| readable(&events).is_some_and(|pending| pending.has(uid, version));
        if only.is_none_or(|(uid, version)| is_it(uid, version)) {
            let sql = "update outbox set due_at = ?2, tries = 0 where id = ?1";
            db.prepare_cached(sql)?.execute((id, now.as_microsecond()))?;
            replayed += 1;
        }
    }
    Ok(replayed)
}

pub(in crate::ledger::sqlite) fn forget_events(
    db: &Connection, created_before: Timestamp, configured: &[Receiver], limit: usize,
) -> Result<u64, Fault> {
    let configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
    let sql = "delete from outbox where id in (select id from outbox
                where created_at < ?1 and (receiver <> 'broker' or receiver not in (select value from json_each(?2))) limit ?3)";
    let configured = serde_json::to_string(&configured)?;
    Ok(db.prepare_cached(sql)?.execute((created_before.as_microsecond(), configured, limit as i64))? as u64)
}
