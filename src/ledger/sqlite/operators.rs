//! What operators do, in SQLite.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::operations::load_quotas;
use super::row::{load, time};
use super::{Fault, Sqlite, operations};
use crate::domain::attempt::State;
use crate::domain::clock::after;
use crate::domain::dispatch::Dispatch;
use crate::domain::restrictions::BlockKind;
use crate::ledger::LedgerError;
use crate::ledger::decide::{self, Quotas};
use crate::ledger::items::{
    AuditRecord, Block, DispatchSearch, EraseStep, Erased, FoundRows, LeftDispatch, NewAuditRecord, NewBlock,
    NewPause, Pause, Probe, RetryResult, SearchBy, StoredRestrictions,
};
use crate::ledger::operators::{EVERYWHERE, MAX_EXAMINED, Operators};

/// The rows of a number, an id or a period.
const BY_NUMBER: &str =
    "select uid, state, tenant from dispatch where number_key in (select value from json_each(?1))";
const BY_ID: &str = "select uid, state, tenant from dispatch where uid = json_extract(?1, '$[0]')
     union select uid, state, tenant from dispatch
            where tenant in (select value from json_each(?1)) and id = json_extract(?1, '$[0]')";
const BY_PERIOD: &str =
    "select uid, state, tenant from dispatch where uid >= ?2 and uid < ?3 and ?1 is not null";

fn record(db: &Connection, audit: &NewAuditRecord, now: Timestamp) -> Result<(), Fault> {
    let sql =
        "insert or ignore into audit (id, at, who, act, subject, reason) values (?1, ?2, ?3, ?4, ?5, ?6)";
    let NewAuditRecord { id, who, act, subject, reason } = audit;
    db.prepare_cached(sql)?.execute((
        id.to_string(),
        now.as_microsecond(),
        who,
        act.as_str(),
        subject,
        reason,
    ))?;
    Ok(())
}

/// Records the act, and changes the revision.
fn revise(db: &Connection, audit: &NewAuditRecord, now: Timestamp) -> Result<(), Fault> {
    record(db, audit, now)?;
    db.prepare_cached("update restriction set revision = ?1 where id = 1")?
        .execute([audit.id.to_string()])?;
    Ok(())
}

fn at(row: &Row<'_>, column: usize) -> Result<Timestamp, Fault> {
    maybe_at(row, column)?.ok_or(Fault::UnknownForm)
}

fn maybe_at(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Fault> {
    let us: Option<i64> = row.get(column)?;
    us.map(|us| Timestamp::from_microsecond(us).map_err(|_| Fault::UnknownForm)).transpose()
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> Result<T, Fault> {
    row.get::<_, String>(column)?.parse().map_err(|_| Fault::UnknownForm)
}

/// Reads all rows of a query.
fn all<T>(
    db: &Connection, sql: &str, params: impl rusqlite::Params, read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = vec![];
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Reads the first column of the first row.
fn one<T: FromSql>(db: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Option<T>, Fault> {
    Ok(all(db, sql, params, |row| Ok(row.get(0)?))?.pop())
}

fn restrictions(db: &Connection) -> Result<StoredRestrictions, Fault> {
    let pauses = "select carrier, nullif(country, ''), reason, paused_by, paused_at, until from carrier_pause
                   order by carrier, country";
    let blocks = "select kind, value, shown, reason, blocked_by, blocked_at, until from block
                   order by blocked_at desc";
    Ok(StoredRestrictions {
        revision: revision(db)?,
        pauses: all(db, pauses, (), |row| {
            Ok(Pause {
                carrier: row.get(0)?,
                country: row.get(1)?,
                reason: row.get(2)?,
                paused_by: row.get(3)?,
                paused_at: at(row, 4)?,
                until: maybe_at(row, 5)?,
            })
        })?,
        probes: all(db, "select carrier, probe_at from carrier_probe order by carrier", (), |row| {
            Ok(Probe { carrier: row.get(0)?, probe_at: at(row, 1)? })
        })?,
        blocks: all(db, blocks, (), |row| {
            Ok(Block {
                kind: parsed(row, 0)?,
                value: row.get(1)?,
                shown: row.get(2)?,
                reason: row.get(3)?,
                blocked_by: row.get(4)?,
                blocked_at: at(row, 5)?,
                until: maybe_at(row, 6)?,
            })
        })?,
    })
}

fn revision(db: &Connection) -> Result<Uuid, Fault> {
    let text: Option<String> = one(db, "select revision from restriction where id = 1", ())?;
    text.map_or(Ok(Uuid::nil()), |text| text.parse().map_err(|_| Fault::UnknownForm))
}

fn find_rows(db: &Connection, search: &DispatchSearch, from: Uuid, before: Uuid) -> Result<FoundRows, Fault> {
    let (rows, which) = match &search.by {
        SearchBy::Number(keys) => (BY_NUMBER, keys.clone()),
        SearchBy::Id { id, tenants } => {
            (BY_ID, std::iter::once(id.to_string()).chain(tenants.iter().cloned()).collect())
        }
        SearchBy::Period => (BY_PERIOD, vec![]),
    };
    let sql = format!(
        "select uid, state, tenant from ({rows}) where uid >= ?2 and uid < ?3 order by uid desc limit {MAX_EXAMINED}"
    );
    let params = (serde_json::to_string(&which)?, from.to_string(), before.to_string());
    let seen: Vec<(Uuid, String, String)> =
        all(db, &sql, params, |row| Ok((parsed(row, 0)?, row.get(1)?, row.get(2)?)))?;
    let (state, tenant) = (search.state.map(State::as_str), search.tenant.as_deref());
    let matching = seen.iter().filter(|(_, is, of)| {
        state.is_none_or(|state| state == is) && tenant.is_none_or(|tenant| tenant == of)
    });
    Ok(FoundRows {
        uids: matching.map(|(uid, ..)| *uid).take(search.limit).collect(),
        examined: seen.len(),
        oldest: seen.last().map(|(uid, ..)| *uid),
    })
}

fn erase(db: &Connection, step: &EraseStep, now: Timestamp) -> Result<Erased, Fault> {
    let sql = "select uid from dispatch where number_key in (select value from json_each(?1)) order by uid limit ?2";
    let keys = serde_json::to_string(&step.number_keys)?;
    let uids: Vec<Uuid> = all(db, sql, (keys, step.limit as i64), |row| parsed(row, 0))?;
    let mut erased = Erased { is_partial: uids.len() == step.limit, ..Erased::default() };
    for uid in uids {
        let Some(d) = load(db, uid, now)? else { continue };
        if !decide::is_erasable(&d, now) {
            erased.left.push(LeftDispatch::of(&d));
            continue;
        }
        for sql in [
            "delete from outbox where uid = ?1",
            "delete from stray_receipt where uid = ?1",
            "delete from dispatch where uid = ?1",
        ] {
            db.prepare_cached(sql)?.execute([uid.to_string()])?;
        }
        erased.quota_keys.extend(d.quota_uses.into_iter().map(|used| used.key));
        erased.dispatches += 1;
    }
    if erased.dispatches > 0 {
        record(db, &step.audit, now)?;
    }
    Ok(erased)
}

#[async_trait]
impl Operators for Sqlite {
    async fn restriction_revision(&self) -> Result<Uuid, LedgerError> {
        self.run(|db| revision(db)).await
    }

    async fn restrictions(&self) -> Result<StoredRestrictions, LedgerError> {
        self.run(|db| restrictions(db)).await
    }

    async fn pause_carrier(&self, pause: &NewPause, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let (pause, audit) = (pause.clone(), audit.clone());
        self.write(move |db, now| {
            revise(db, &audit, now)?;
            db.execute("delete from carrier_pause where until <= ?1", [now.as_microsecond()])?;
            let sql =
                "insert or replace into carrier_pause (carrier, country, reason, paused_by, paused_at, until)
                       values (?1, ?2, ?3, ?4, ?5, ?6)";
            let until = time(pause.duration.map(|duration| after(now, duration)));
            db.prepare_cached(sql)?.execute((
                pause.carrier,
                pause.country.as_deref().unwrap_or(EVERYWHERE),
                pause.reason,
                audit.who,
                now.as_microsecond(),
                until,
            ))?;
            Ok(())
        })
        .await
    }

    async fn resume_carrier(
        &self, carrier: &str, country: Option<&str>, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError> {
        let (carrier, country, audit) = (carrier.to_owned(), country.map(str::to_owned), audit.clone());
        self.write(move |db, now| {
            let sql = "delete from carrier_pause where carrier = ?1 and (?2 is null or country = ?2)
                          and (until is null or until > ?3)";
            let gone = db.prepare_cached(sql)?.execute((carrier, country, now.as_microsecond()))? > 0;
            if gone {
                revise(db, &audit, now)?;
            }
            Ok(gone)
        })
        .await
    }

    async fn probe_carrier(&self, carrier: &str, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let (carrier, audit) = (carrier.to_owned(), audit.clone());
        self.write(move |db, now| {
            revise(db, &audit, now)?;
            let sql = "insert or replace into carrier_probe (carrier, probe_at) values (?1, ?2)";
            db.prepare_cached(sql)?.execute((carrier, now.as_microsecond()))?;
            Ok(())
        })
        .await
    }

    async fn add_block(&self, block: &NewBlock, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let (block, audit) = (block.clone(), audit.clone());
        self.write(move |db, now| {
            revise(db, &audit, now)?;
            db.execute("delete from block where until <= ?1", [now.as_microsecond()])?;
            let sql =
                "insert or replace into block (kind, value, shown, reason, blocked_by, blocked_at, until)
                       values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let until = time(block.duration.map(|duration| after(now, duration)));
            db.prepare_cached(sql)?.execute((
                block.kind.as_str(),
                block.value,
                block.shown,
                block.reason,
                audit.who,
                now.as_microsecond(),
                until,
            ))?;
            Ok(())
        })
        .await
    }

    async fn remove_block(
        &self, kind: BlockKind, value: &str, audit: &NewAuditRecord,
    ) -> Result<bool, LedgerError> {
        let (value, audit) = (value.to_owned(), audit.clone());
        self.write(move |db, now| {
            let sql = "delete from block where kind = ?1 and value = ?2 and (until is null or until > ?3)";
            let gone = db.prepare_cached(sql)?.execute((kind.as_str(), value, now.as_microsecond()))? == 1;
            if gone {
                revise(db, &audit, now)?;
            }
            Ok(gone)
        })
        .await
    }

    async fn find_rows(
        &self, search: &DispatchSearch, from: Uuid, before: Uuid,
    ) -> Result<FoundRows, LedgerError> {
        let search = search.clone();
        self.run(move |db| find_rows(db, &search, from, before)).await
    }

    async fn read_many(&self, uids: &[Uuid]) -> Result<Vec<Dispatch>, LedgerError> {
        let (uids, clock) = (uids.to_vec(), self.clock.clone());
        self.run(move |db| {
            let mut found = vec![];
            for uid in uids {
                match load(db, uid, clock.now()) {
                    Err(Fault::UnknownForm) => operations::unreadable(&uid),
                    read => found.extend(read?),
                }
            }
            Ok(found)
        })
        .await
    }

    async fn retry_dispatch(&self, uid: Uuid) -> Result<RetryResult, LedgerError> {
        self.write(move |db, now| operations::change(db, load(db, uid, now)?, |d| decide::retry(d, now)))
            .await
    }

    async fn quotas(&self, keys: &[String]) -> Result<Quotas, LedgerError> {
        let keys = keys.to_vec();
        self.run(move |db| load_quotas(db, keys.iter().map(String::as_str))).await
    }

    async fn delete_quotas(&self, keys: &[String], audit: &NewAuditRecord) -> Result<u64, LedgerError> {
        let (keys, audit) = (keys.to_vec(), audit.clone());
        self.write(move |db, now| {
            record(db, &audit, now)?;
            let mut gone = 0;
            for key in keys {
                gone += db.prepare_cached("delete from quota where key = ?1")?.execute([key])? as u64;
            }
            Ok(gone)
        })
        .await
    }

    async fn erase(&self, step: &EraseStep) -> Result<Erased, LedgerError> {
        let step = step.clone();
        self.write(move |db, now| erase(db, &step, now)).await
    }

    async fn record_act(&self, audit: &NewAuditRecord) -> Result<(), LedgerError> {
        let audit = audit.clone();
        self.write(move |db, now| record(db, &audit, now)).await
    }

    async fn audit(&self, after: Uuid, before: Uuid, limit: usize) -> Result<Vec<AuditRecord>, LedgerError> {
        self.run(move |db| {
            let sql = "select id, at, who, act, subject, reason from audit
                        where id > ?1 and id < ?2 order by id desc limit ?3";
            let params = (after.to_string(), before.to_string(), limit as i64);
            all(db, sql, params, |row| {
                Ok(AuditRecord {
                    id: parsed(row, 0)?,
                    at: at(row, 1)?,
                    who: row.get(2)?,
                    act: row.get(3)?,
                    subject: row.get(4)?,
                    reason: row.get(5)?,
                })
            })
        })
        .await
    }
}
