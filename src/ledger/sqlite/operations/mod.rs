//! The ledger's operations on the SQLite file: each loads rows, lets [`decide`](crate::ledger::decide) change them, and stores them.

mod admit;
mod outbox;
mod take;

mod write;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::Fault;
use super::row::{load, put_attempt, update};
use crate::domain::dispatch::Dispatch;
use crate::ledger::LedgerError;
use crate::ledger::decide::Quotas;
use crate::ledger::items::KeyRow;

pub(super) use admit::admit;
pub(super) use outbox::{
    delete, forget_events, record_undelivered, replay_webhooks, take_events, undelivered, webhook_rows,
};
pub(super) use take::{take, take_due};
pub(super) use write::{advance, begin, change, record, stop, write_decision};

pub(super) fn find(
    db: &Connection, tenant: &str, id: Uuid, now: Timestamp,
) -> Result<Option<Dispatch>, Fault> {
    let uid: Option<String> = db
        .prepare_cached("select uid from dispatch where tenant = ?1 and id = ?2")?
        .query_row((tenant, id.to_string()), |r| r.get(0))
        .optional()?;
    uid.and_then(|uid| uid.parse().ok()).map_or(Ok(None), |uid| load(db, uid, now))
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

/// Logs a row that is left alone.
pub(super) fn unreadable(uid: &impl std::fmt::Display) {
    tracing::error!(dispatch.uid = %uid, reason = %LedgerError::UnknownForm, "a dispatch cannot be read");
}

/// Loads the quotas with these keys.
pub(super) fn load_quotas<'k>(db: &Connection, keys: impl Iterator<Item = &'k str>) -> Result<Quotas, Fault> {
    let mut quotas = Quotas::default();
    for key in keys {
        let text: Option<String> = db
            .prepare_cached("select uses from quota where key = ?1")?
            .query_row([key], |r| r.get(0))
            .optional()?;
        let micros: Vec<i64> = text.map(|t| serde_json::from_str(&t)).transpose()?.unwrap_or_default();
        let uses: Result<_, _> = micros.into_iter().map(Timestamp::from_microsecond).collect();
        quotas.insert(key.to_owned(), uses.map_err(|_| Fault::UnknownForm)?);
    }
    Ok(quotas)
}

/// Stores the changed quotas.
fn save_quotas(db: &Connection, quotas: &Quotas) -> Result<(), Fault> {
    for (key, uses, _) in quotas.changed() {
        let micros: Vec<i64> = uses.iter().map(|t| t.as_microsecond()).collect();
        db.prepare_cached("insert or replace into quota values (?1, ?2)")?
            .execute((key, serde_json::to_string(&micros)?))?;
    }
    Ok(())
}

/// Stores the change of a dispatch: its row, and the attempts that differ.
fn save(db: &Connection, before: &Dispatch, d: &Dispatch) -> Result<(), Fault> {
    if before == d {
        return Ok(());
    }
    for (i, attempt) in d.attempts.iter().enumerate() {
        if before.attempts.get(i) != Some(attempt) {
            put_attempt(db, d.order.uid, attempt)?;
        }
    }
    update(db, d)
}
