//! Measures of the ledger in SQLite.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;

use super::Sqlite;
use super::fault::Fault;
use crate::ledger::LedgerError;
use crate::ledger::measures::{Backlog, MAX_COUNTED, Measures, PoolState, Waiting};

#[async_trait]
impl Measures for Sqlite {
    fn pool(&self) -> Option<PoolState> {
        None
    }

    async fn backlog(&self) -> Result<Backlog, LedgerError> {
        let clock = self.clock.clone();
        self.run(move |db| {
            let now = clock.now();
            let due = "select wake_at as since from dispatch where wake_at <= ?1";
            let broker = "select created_at as since from outbox where receiver = 'broker' and due_at is not null and ?1 > 0";
            let webhooks = "select created_at as since from outbox
                             where receiver > 'webhook:' and receiver < 'webhook;' and due_at is not null and ?1 > 0";
            let given_up = "select null as since from outbox
                             where receiver > 'webhook:' and receiver < 'webhook;' and due_at is null and ?1 > 0";
            Ok(Backlog {
                due: waiting(db, due, now)?,
                broker: waiting(db, broker, now)?,
                webhooks: waiting(db, webhooks, now)?,
                given_up: waiting(db, given_up, now)?.rows,
            })
        })
        .await
    }
}

/// Counts the rows of a query, and reads the least `since`.
fn waiting(db: &Connection, rows: &str, now: Timestamp) -> Result<Waiting, Fault> {
    let sql = format!("select count(*), min(since) from ({rows} limit {MAX_COUNTED})");
    let now = now.as_microsecond();
    let (rows, since): (i64, Option<i64>) =
        db.prepare_cached(&sql)?.query_row([now], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let oldest = since.map_or(0, |since| (now - since).max(0).unsigned_abs());
    Ok(Waiting { rows: rows.unsigned_abs(), oldest: Duration::from_micros(oldest) })
}
