//! Pending webhook deliveries.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::Fault;
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Event};
use crate::ledger::items::{DeliveryResult, PendingEvents, WebhookDelivery, WebhookRow};
use crate::ledger::sqlite::row::{load, time};

/// Lease of a webhook delivery, longer than the time-out of a request.
const LEASE: Duration = Duration::from_secs(30);

/// Inserts the pending webhook deliveries of a dispatch.
pub(super) fn insert_pending(
    db: &Connection, d: &Dispatch, events: &[Event], now: Timestamp,
) -> Result<(), Fault> {
    let mut insert = db.prepare_cached(
        "insert into webhook (uid, version, tenant, event, due_at, created_at) values (?1, ?2, ?3, ?4, ?5, ?5)",
    )?;
    for event in events {
        let (uid, text) = (d.order.uid.to_string(), serde_json::to_string(event)?);
        insert.execute((uid, event.version, &d.order.tenant, text, now.as_microsecond()))?;
    }
    Ok(())
}

pub(in crate::ledger::sqlite) fn webhooks_due(
    db: &Connection, tenant: &str, limit: usize, now: Timestamp,
) -> Result<Vec<WebhookDelivery>, Fault> {
    let due: Vec<(String, i64, String, u16)> = db
        .prepare_cached(
            "select uid, version, event, tries from webhook where tenant = ?1 and due_at <= ?2
              order by due_at limit ?3",
        )?
        .query_map((tenant, now.as_microsecond(), limit as i64), |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut deliveries = vec![];
    for (uid, version, event, tries) in due {
        db.prepare_cached("update webhook set due_at = ?3 where uid = ?1 and version = ?2")?.execute((
            &uid,
            version,
            after(now, LEASE).as_microsecond(),
        ))?;
        if let Some(d) = load(db, uid.parse().map_err(|_| Fault::BadRow)?, now)? {
            deliveries.push(WebhookDelivery {
                pending: PendingEvents::of(&d.order, vec![serde_json::from_str(&event)?]),
                tries,
            });
        }
    }
    Ok(deliveries)
}

pub(in crate::ledger::sqlite) fn record_webhook_result(
    db: &Connection, uid: Uuid, version: i64, result: &DeliveryResult, now: Timestamp,
) -> Result<(), Fault> {
    match result {
        DeliveryResult::Delivered => db
            .prepare_cached("delete from webhook where uid = ?1 and version = ?2")?
            .execute((uid.to_string(), version))?,
        DeliveryResult::Failed { problem, retry_after } => db
            .prepare_cached(
                "update webhook set tries = tries + 1, problem = ?3, due_at = ?4 where uid = ?1 and version = ?2",
            )?
            .execute((uid.to_string(), version, problem, time(retry_after.map(|a| after(now, a)))))?,
    };
    Ok(())
}

pub(in crate::ledger::sqlite) fn webhook_rows(
    db: &Connection, tenant: &str, limit: usize,
) -> Result<Vec<WebhookRow>, Fault> {
    let sql = "select w.uid, w.version, d.id, json_extract(w.event, '$.state'), w.tries, w.due_at, w.created_at, w.problem
                 from webhook w join dispatch d on d.uid = w.uid
                where w.tenant = ?1 order by w.created_at desc, w.version desc limit ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows: Vec<Result<WebhookRow, Fault>> =
        statement.query_map((tenant, limit as i64), |r| Ok(webhook_row(r)))?.collect::<Result<_, _>>()?;
    rows.into_iter().collect()
}

fn webhook_row(r: &Row<'_>) -> Result<WebhookRow, Fault> {
    let id = |text: String| text.parse().map_err(|_| Fault::BadRow);
    let at = |us: i64| Timestamp::from_microsecond(us).map_err(|_| Fault::BadRow);
    Ok(WebhookRow {
        uid: id(r.get(0)?)?,
        version: r.get(1)?,
        id: id(r.get(2)?)?,
        state: r.get(3)?,
        tries: r.get(4)?,
        due_at: r.get::<_, Option<i64>>(5)?.map(at).transpose()?,
        born_at: at(r.get(6)?)?,
        problem: r.get(7)?,
    })
}

pub(in crate::ledger::sqlite) fn replay_webhooks(
    db: &Connection, tenant: &str, only: Option<(Uuid, i64)>, now: Timestamp,
) -> Result<u64, Fault> {
    let sql = "update webhook set due_at = ?2, tries = 0 where tenant = ?1 and due_at is null
                  and (?3 is null or (uid = ?3 and version = ?4))";
    let (uid, version) = (only.map(|(uid, _)| uid.to_string()), only.map(|(_, version)| version));
    Ok(db.prepare_cached(sql)?.execute((tenant, now.as_microsecond(), uid, version))? as u64)
}
