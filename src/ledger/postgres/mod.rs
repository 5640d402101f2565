//! The ledger in PostgreSQL. Each call is one statement, a function of the schema that takes locks, reads the clock and
//! decides. No transaction stays open while this process computes.

mod message_ids;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::dispatch::Dispatch;
use crate::domain::quota;
use crate::ledger::items::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult,
    DecisionWrite, DeliveryResult, KeyRow, PendingEvents, PublishedEvents, RecordResult, StopRequest,
    StopResult, WebhookDelivery, WebhookRow, WriteResult,
};
use crate::ledger::{LedgerError, Store};

use wire::{UNKNOWN_FORM, indexed, ledger_error};

pub(in crate::ledger) use wire::Postgres;

/// Migrations in order, with the same numbers and names as those for SQLite.
pub(in crate::ledger) const MIGRATIONS: &[(&str, &str)] =
    &[("V1__ledger", include_str!("../../../migrations/postgres/0001_ledger.sql"))];
/// Key of the advisory lock that serialises migrations.
const MIGRATION_LOCK: i64 = 0x6f74_706f_7374;

#[derive(Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum BeginRow {
    Begun { row: Box<Dispatch> },
    Lost { row: Option<Box<Dispatch>> },
    VoiceRefused { retry_after_s: u64, now: Timestamp },
}

#[derive(Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum ConcludeRow {
    Concluded {},
    OutcomeOnly { row: Box<Dispatch> },
    Late {},
    LateFact {},
    Lost { row: Option<Box<Dispatch>> },
}

#[derive(Deserialize)]
struct RecordRow {
    result: RecordResult,
}

#[async_trait]
impl Store for Postgres {
    async fn migrate(&self) -> Result<(), LedgerError> {
        let failed = |e: refinery::Error| {
            let known = std::error::Error::source(&e)
                .and_then(|e| e.downcast_ref::<tokio_postgres::Error>())
                .map(ledger_error);
            known.unwrap_or_else(|| LedgerError::Unusable("the schema cannot be migrated".to_owned()))
        };
        // A connection outside the pool. Closing it releases the advisory lock in every case.
        let mut connection = Object::take(self.connection().await?);
        connection.batch_execute("set statement_timeout = 0").await.map_err(|e| ledger_error(&e))?;
        connection
            .execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(|e| ledger_error(&e))?;
        let migrations: Result<Vec<_>, _> =
            MIGRATIONS.iter().map(|(name, sql)| refinery::Migration::unapplied(name, sql)).collect();
        refinery::Runner::new(&migrations.map_err(failed)?)
            .run_async(&mut *connection)
            .await
            .map_err(failed)?;
        Ok(())
    }

    async fn check(&self) -> Result<Timestamp, LedgerError> {
        let sql = "select jsonb_build_object('now', otpost_now(),
                          'version', (select max(version) from refinery_schema_history))";
        let mut rows: Vec<Value> = self.rows(sql, &[]).await?;
        let row = rows.pop().unwrap_or_default();
        if row["version"].as_u64() != Some(MIGRATIONS.len() as u64) {
            return Err(LedgerError::Unusable(
                "the ledger's schema has another version; run: otpost migrate".to_owned(),
            ));
        }
        self.check_writable().await?;
        row["now"]
            .as_str()
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| LedgerError::Unusable(UNKNOWN_FORM.to_owned()))
    }

    async fn admit(&self, group: &[Arc<Admission>]) -> Result<Vec<AdmissionResult>, LedgerError> {
        self.group("otpost_admit", group.iter().map(|a| a.row())).await
    }

    async fn begin(&self, group: &[Arc<BeginRequest>]) -> Result<Vec<BeginResult>, LedgerError> {
        let rows: Vec<BeginRow> = self.group("otpost_begin", group.iter().map(|b| &**b)).await?;
        Ok(rows
            .into_iter()
            .map(|row| match row {
                BeginRow::Begun { row } => BeginResult::Begun(row),
                BeginRow::Lost { row } => BeginResult::VersionConflict(row),
                BeginRow::VoiceRefused { retry_after_s, now } => {
                    BeginResult::ChannelRefused { retry_after_s, now }
                }
            })
            .collect())
    }

    async fn write_decision(&self, group: &[Arc<DecisionWrite>]) -> Result<Vec<WriteResult>, LedgerError> {
        let rows: Vec<ConcludeRow> = self.group("otpost_conclude", group.iter().map(|d| d.row())).await?;
        Ok(rows
            .into_iter()
            .map(|row| match row {
                ConcludeRow::Concluded {} => WriteResult::Written,
                ConcludeRow::OutcomeOnly { row } => WriteResult::OutcomeOnly(row),
                ConcludeRow::Late {} => WriteResult::AlreadyClosed { proved_acceptance: false },
                ConcludeRow::LateFact {} => WriteResult::AlreadyClosed { proved_acceptance: true },
                ConcludeRow::Lost { row } => WriteResult::VersionConflict(row),
            })
            .collect())
    }

    async fn record(&self, group: &[Arc<AttemptReceipt>]) -> Result<Vec<RecordResult>, LedgerError> {
        let rows: Vec<RecordRow> = self.group("otpost_record", group.iter().map(|r| &**r)).await?;
        Ok(rows.into_iter().map(|r| r.result).collect())
    }

    async fn stop(&self, request: &StopRequest) -> Result<StopResult, LedgerError> {
        let mut rows = self.group("otpost_stop", std::iter::once(request)).await?;
        rows.pop().ok_or_else(|| LedgerError::Unusable(UNKNOWN_FORM.to_owned()))
    }

    async fn advance(&self, request: &AdvanceRequest) -> Result<AdvanceResult, LedgerError> {
        let mut rows = self.group("otpost_advance", std::iter::once(request)).await?;
        rows.pop().ok_or_else(|| LedgerError::Unusable(UNKNOWN_FORM.to_owned()))
    }

    async fn take(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        Ok(self.rows("select otpost_take($1)", &[&vec![uid]]).await?.pop())
    }

    async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError> {
        self.rows("select otpost_take_due($1, $2)", &[&(fresh as i32), &(begun as i32)]).await
    }

    async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        let sql = "select otpost_row(d, otpost_now()) from dispatch d where tenant = $1 and id = $2";
        Ok(self.rows(sql, &[&tenant, &id]).await?.pop())
    }

    async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        Ok(self
            .rows("select otpost_row(d, otpost_now()) from dispatch d where uid = $1", &[&uid])
            .await?
            .pop())
    }

    async fn pending_events(&self, limit: usize) -> Result<Vec<PendingEvents>, LedgerError> {
        self.rows("select otpost_owed($1)", &[&(limit as i32)]).await
    }

    async fn mark_published(&self, group: &[Arc<PublishedEvents>]) -> Result<Vec<()>, LedgerError> {
        let items = Json(indexed(group.iter().map(|t| &**t)));
        let _: Vec<Value> =
            self.rows("select to_jsonb(1) from (select otpost_told($1)) done", &[&items]).await?;
        Ok(vec![(); group.len()])
    }

    async fn webhooks_due(&self, tenant: &str, limit: usize) -> Result<Vec<WebhookDelivery>, LedgerError> {
        self.rows("select otpost_hooks_due($1, $2)", &[&tenant, &(limit as i32)]).await
    }

    async fn record_webhook_result(
        &self, uid: Uuid, version: i64, result: &DeliveryResult,
    ) -> Result<(), LedgerError> {
        let sql = match result {
            DeliveryResult::Delivered => "with gone as (delete from webhook where uid = $1 and version = $2) select to_jsonb(1)",
            DeliveryResult::Failed { .. } => {
                "with kept as (update webhook set tries = tries + 1, problem = $3, due_at = otpost_now() + make_interval(secs => $4)
                                where uid = $1 and version = $2) select to_jsonb(1)"
            }
        };
        let _: Vec<Value> = match result {
            DeliveryResult::Delivered => self.rows(sql, &[&uid, &version]).await?,
            DeliveryResult::Failed { problem, retry_after } => {
                let secs = retry_after.map(|a| a.as_secs_f64());
                self.rows(sql, &[&uid, &version, problem, &secs]).await?
            }
        };
        Ok(())
    }

    async fn webhook_rows(&self, tenant: &str, limit: usize) -> Result<Vec<WebhookRow>, LedgerError> {
        let sql = "select to_jsonb(w) || jsonb_build_object('id', d.id, 'state', w.event->>'state')
                     from webhook w join dispatch d on d.uid = w.uid
                    where w.tenant = $1 order by w.born_at desc, w.version desc limit $2";
        self.rows(sql, &[&tenant, &(limit as i64)]).await
    }

    async fn replay_webhooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError> {
        let sql = "with again as (update webhook set due_at = otpost_now(), tries = 0
                                   where tenant = $1 and due_at is null
                                     and ($2::uuid is null or (uid = $2 and version = $3)) returning 1)
                   select to_jsonb(count(*)) from again";
        let (uid, version) = (only.map(|(uid, _)| uid), only.map(|(_, version)| version));
        Ok(self.rows(sql, &[&tenant, &uid, &version]).await?.pop().unwrap_or(0))
    }

    async fn heartbeat(&self, worker: &str) -> Result<usize, LedgerError> {
        let sql = "with me as (insert into worker values ($1, otpost_now())
                               on conflict (name) do update set seen_at = excluded.seen_at)
                   select to_jsonb(count(*) + 1) from worker
                    where name <> $1 and seen_at > otpost_now() - interval '15 seconds'";
        Ok(self.rows(sql, &[&worker]).await?.pop().unwrap_or(1))
    }

    async fn remove_worker(&self, worker: &str) -> Result<(), LedgerError> {
        let sql =
            "with gone as (delete from worker where name = $1 or seen_at < otpost_now() - interval '1 day')
                   select to_jsonb(1)";
        let _: Vec<Value> = self.rows(sql, &[&worker]).await?;
        Ok(())
    }

    async fn strays(&self, limit: usize) -> Result<Vec<AttemptReceipt>, LedgerError> {
        let sql =
            "with old as (delete from stray_receipt where received_at < otpost_now() - interval '72 hours')
                   select s.receipt || jsonb_build_object('uid', s.uid, 'n', s.n, 'carrier', s.carrier)
                     from stray_receipt s join dispatch d on d.uid = s.uid
                    where (d.n = s.n and d.carrier = s.carrier)
                       or exists (select from attempt a where a.uid = s.uid and a.n = s.n and a.carrier = s.carrier)
                    limit $1";
        self.rows(sql, &[&(limit as i64)]).await
    }

    async fn delete_stray(&self, stray: &AttemptReceipt) -> Result<(), LedgerError> {
        let sql = "with gone as (delete from stray_receipt
                                  where uid = $1 and n = $2 and carrier = $3 and receipt = jsonb_strip_nulls($4))
                   select to_jsonb(1)";
        let receipt =
            serde_json::to_value(&stray.receipt).map_err(|e| LedgerError::Unusable(e.to_string()))?;
        let _: Vec<Value> =
            self.rows(sql, &[&stray.uid, &(stray.n as i16), &stray.carrier, &receipt]).await?;
        Ok(())
    }

    async fn purge(&self, admitted_before: Timestamp, limit: usize) -> Result<u64, LedgerError> {
        let sql = "with gone as (delete from dispatch where uid in (
                        select uid from dispatch where uid < $1 and wake_at is null and owed = '[]'
                           and state not in ('queued', 'sending', 'sent')
                           and not exists (select from webhook w where w.uid = dispatch.uid and w.due_at is not null)
                         order by uid limit $2) returning 1)
                   select to_jsonb(count(*)) from gone";
        let bound = uuid_at(admitted_before);
        Ok(self.rows(sql, &[&bound, &(limit as i64)]).await?.pop().unwrap_or(0))
    }

    async fn purge_quotas(&self, limit: usize) -> Result<u64, LedgerError> {
        let sql = "with gone as (delete from quota where key in (
                        select key from quota where cardinality(slots) = 0
                            or slots[cardinality(slots)] < otpost_now() - make_interval(secs => $1)
                         order by key limit $2 for update skip locked) returning 1)
                   select to_jsonb(count(*)) from gone";
        let kept = quota::LONGEST_WINDOW.as_secs_f64();
        Ok(self.rows(sql, &[&kept, &(limit as i64)]).await?.pop().unwrap_or(0))
    }

    async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError> {
        let sql = "with made as (insert into api_key values ($1, $2, $3, $4, otpost_now()) returning 1)
                   select to_jsonb(count(*)) from made";
        let _: Vec<Value> = self.rows(sql, &[&key.id, &key.tenant, &key.scopes, &key.hash]).await?;
        Ok(())
    }

    async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError> {
        let sql = "select to_jsonb(k) from api_key k where id = $1 and revoked_at is null";
        Ok(self.rows(sql, &[&id]).await?.pop())
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError> {
        self.rows("select to_jsonb(k) from api_key k order by created_at desc", &[]).await
    }

    async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError> {
        let sql = "with gone as (update api_key set revoked_at = otpost_now()
                                  where id = $1 and revoked_at is null returning 1)
                   select to_jsonb(count(*)) from gone";
        Ok(self.rows(sql, &[&id]).await?.pop().unwrap_or(0) == 1)
    }
}

/// The smallest UUIDv7 of this millisecond.
fn uuid_at(t: Timestamp) -> Uuid {
    Uuid::from_u128(u128::try_from(t.as_millisecond().max(0)).unwrap_or(0) << 80)
}
