//! The ledger's operations on the SQLite file, in Rust. They make the same decisions as PostgreSQL's functions.

mod admit;
mod conclude;
mod facts;
mod take;
mod webhooks;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::Fault;
use super::row::{load, update};
use crate::domain::dispatch::{Dispatch, QuotaUse};
use crate::domain::quota;
use crate::ledger::items::{KeyRow, Limit};

pub(super) use admit::admit;
pub(super) use conclude::{begin, write_decision};
pub(super) use facts::{advance, record, stop};
pub(super) use take::{take, take_due};
pub(super) use webhooks::{record_webhook_result, replay_webhooks, webhook_rows, webhooks_due};

fn uid_of(db: &Connection, tenant: &str, id: Uuid) -> Result<Option<(Uuid, String)>, Fault> {
    let found: Option<(String, String)> = db
        .prepare_cached("select uid, content from dispatch where tenant = ?1 and id = ?2")?
        .query_row((tenant, id.to_string()), |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    Ok(found.and_then(|(uid, content)| Some((uid.parse().ok()?, content))))
}

pub(super) fn find(
    db: &Connection, tenant: &str, id: Uuid, now: Timestamp,
) -> Result<Option<Dispatch>, Fault> {
    match uid_of(db, tenant, id)? {
        Some((uid, _)) => load(db, uid, now),
        None => Ok(None),
    }
}

/// The API key with this id, or all API keys, newest first.
pub(super) fn keys(db: &Connection, id: Option<&str>) -> Result<Vec<KeyRow>, Fault> {
    let sql = "select id, tenant, scopes, hash, created_at, revoked_at from api_key
                where ?1 is null or id = ?1 order by created_at desc";
    let at = |us: Option<i64>| us.and_then(|us| Timestamp::from_microsecond(us).ok());
    let row = |r: &rusqlite::Row<'_>| {
        Ok(KeyRow {
            id: r.get(0)?,
            tenant: r.get(1)?,
            scopes: r.get(2)?,
            hash: r.get(3)?,
            created_at: at(r.get(4)?),
            revoked_at: at(r.get(5)?),
        })
    };
    Ok(db.prepare_cached(sql)?.query_map([id], row)?.collect::<Result<_, _>>()?)
}

fn quota_uses(db: &Connection, key: &str) -> Result<Vec<Timestamp>, Fault> {
    let text: Option<String> = db
        .prepare_cached("select slots from quota where key = ?1")?
        .query_row([key], |r| r.get(0))
        .optional()?;
    let micros: Vec<i64> = text.map(|t| serde_json::from_str(&t)).transpose()?.unwrap_or_default();
    Ok(micros.into_iter().filter_map(|us| Timestamp::from_microsecond(us).ok()).collect())
}

fn put_quota_uses(db: &Connection, key: &str, uses: &[Timestamp]) -> Result<(), Fault> {
    let micros: Vec<i64> = uses.iter().map(|t| t.as_microsecond()).collect();
    db.prepare_cached("insert or replace into quota values (?1, ?2)")?
        .execute((key, serde_json::to_string(&micros)?))?;
    Ok(())
}

/// Records a quota use under every limit, or under none. The inner error is the wait in seconds until all limits have room.
fn take_quota_uses(
    db: &Connection, limits: &[&Limit], now: Timestamp,
) -> Result<Result<Vec<QuotaUse>, u64>, Fault> {
    let (mut taken, mut waits) = (vec![], vec![]);
    for limit in limits {
        let mut kept = quota_uses(db, &limit.key)?;
        match quota::take(&mut kept, &limit.rules, now) {
            Ok(at) => taken.push((&limit.key, kept, at)),
            Err(until) => waits.push(quota::retry_after_s(now, until)),
        }
    }
    if let Some(wait) = waits.into_iter().max() {
        return Ok(Err(wait));
    }
    for (key, kept, _) in &taken {
        put_quota_uses(db, key, kept)?;
    }
    Ok(Ok(taken.into_iter().map(|(key, _, at)| QuotaUse { key: key.clone(), at }).collect()))
}

/// When the pending events of a dispatch are due for publishing again.
pub(super) fn republish_at(db: &Connection, uid: Uuid) -> Result<Option<Timestamp>, Fault> {
    let us: Option<i64> = db
        .prepare_cached("select tell_at from dispatch where uid = ?1")?
        .query_row([uid.to_string()], |r| r.get(0))?;
    Ok(us.and_then(|us| Timestamp::from_microsecond(us).ok()))
}

/// Updates a dispatch and keeps its `tell_at`.
fn save(db: &Connection, d: &Dispatch) -> Result<(), Fault> {
    update(db, d, republish_at(db, d.order.uid)?)
}
