//! Measures of the ledger in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;

use super::connection::Postgres;
use super::error::INCOMPLETE_ANSWER;
use crate::ledger::LedgerError;
use crate::ledger::measures::{Backlog, MAX_COUNTED, Measures, PoolState, Waiting};

#[async_trait]
impl Measures for Postgres {
    fn pool(&self) -> Option<PoolState> {
        Some(self.pool_state())
    }

    async fn backlog(&self) -> Result<Backlog, LedgerError> {
        // Each part walks one range of an index. The ranges of webhooks begin with `webhook:`; a semicolon follows a colon.
        let sql = "with now as materialized (select clock_timestamp() as at),
             due as (select due_at as since from timer, now where fresh and due_at <= at limit $1),
             retried as (select due_at as since from timer, now where not fresh and due_at <= at limit $1),
             broker as (select created_at as since from outbox where receiver = 'broker' and due_at is not null limit $1),
             webhook as (select created_at as since, due_at from outbox where receiver > 'webhook:' and receiver < 'webhook;' limit $1),
             counted as (
                 select 1 as part, count(*) as n, min(since) as since from (select * from due union all select * from retried) d
                 union all select 2, count(*), min(since) from broker
                 union all select 3, count(*), min(since) from webhook where due_at is not null
                 union all select 4, count(*), null from webhook where due_at is null)
             select n, greatest(0, coalesce(extract(epoch from at - since), 0))::float8 from counted, now order by part";
        let rows = self.query(sql, &[&MAX_COUNTED]).await?;
        let waiting = |i: usize| {
            let row = rows.get(i).ok_or_else(|| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))?;
            let oldest = Duration::try_from_secs_f64(row.get(1)).unwrap_or_default();
            Ok::<_, LedgerError>(Waiting { rows: row.get::<_, i64>(0).unsigned_abs(), oldest })
        };
        Ok(Backlog {
            due: waiting(0)?,
            broker: waiting(1)?,
            webhooks: waiting(2)?,
            given_up: waiting(3)?.rows,
        })
    }
}
