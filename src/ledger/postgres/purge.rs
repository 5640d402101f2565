//! The deletion of old rows, in steps.
//!
//! While a snapshot is open for long, for example by a backup, PostgreSQL keeps the index entries of deleted rows. A step from the
//! beginning would walk all of them. So a step begins after the last row that the step before it has deleted.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use uuid::Uuid;

use super::Postgres;
use super::error::INCOMPLETE_ANSWER;
use crate::ledger::LedgerError;
use crate::ledger::store::FINAL_STATES;
use crate::ledger::time::uuid_at;

const PURGE: &str = "
    with gone as (
      delete from dispatch where uid in (
        select d.uid from dispatch d
         where d.uid > $3 and d.uid < $1 and d.wake_at is null and d.state = any($4)
           and d.uid not in (select u from outbox o, unnest(o.uids) u where o.due_at is not null and u < $1)
         order by d.uid limit $2 for update skip locked)
      returning uid)
    select count(*), (select uid from gone order by uid desc limit 1) from gone";

const PURGE_QUOTAS: &str = "
    delete from quota where key in (
      select key from quota where forget_on <= (select (clock_timestamp() at time zone 'UTC')::date)
       order by forget_on limit $1 for update skip locked)";

/// The row after which the next step begins.
#[derive(Default)]
pub(super) struct PurgeStart(Mutex<Uuid>);

impl PurgeStart {
    fn begin(&self) -> Uuid {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a step. One that found less than its limit was the last, and the next one begins at the beginning.
    fn record(&self, deleted: usize, limit: usize, last: Option<Uuid>) {
        let next = last.filter(|_| deleted >= limit).unwrap_or_default();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl Postgres {
    /// Deletes final dispatches, at most this number.
    pub(super) async fn purge_step(
        &self, admitted_before: Timestamp, limit: usize,
    ) -> Result<u64, LedgerError> {
        let from = self.purge_start.begin();
        let rows =
            self.query(PURGE, &[&uuid_at(admitted_before), &(limit as i64), &from, &*FINAL_STATES]).await?;
        let row = rows.first().ok_or_else(|| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))?;
        let deleted = row.get::<_, i64>(0) as usize;
        self.purge_start.record(deleted, limit, row.get(1));
        Ok(deleted as u64)
    }

    /// Deletes quotas that no rule looks back to, at most this number.
    pub(super) async fn purge_quotas_step(&self, limit: usize) -> Result<u64, LedgerError> {
        self.execute(PURGE_QUOTAS, &[&(limit as i64)]).await
    }
}
