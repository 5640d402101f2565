//! The ledger in PostgreSQL: plain SQL that loads and stores, around the decisions of [`decide`](crate::ledger::decide).
//!
//! `columns` names each column once, and `reading` reads them. `rows` locks and stores; `admit` and `write` are the operations on
//! dispatches and decide in between. `timer` holds the wake-ups, `outbox` the events. Two round trips admit a group. One writes outcomes;
//! those that need locks take two more.

mod admit;
mod columns;
mod connection;
mod error;
mod measures;
mod message_ids;
mod operators;
mod outbox;
mod pooler;
mod purge;
mod reading;
mod rights;
mod rows;
mod scan_start;
mod server;
mod statistics;
mod timer;
mod tls;
mod write;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::domain::dispatch::Dispatch;
use crate::ledger::items::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult,
    DecisionWrite, EventBatch, KeyRow, Receiver, Recorded, StopRequest, Stopped, Undelivered, WebhookRow,
    WriteResult,
};
use crate::ledger::store::{RECEIPT_KEPT, WORKER_ALIVE};
use crate::ledger::{LedgerError, Store, schema};
use columns::Param;
use error::{INCOMPLETE_ANSWER, ledger_error};
use reading::ROW;

pub(in crate::ledger) use connection::Postgres;
pub use server::Server;

/// Migrations in order, with the same numbers and names as those for SQLite.
pub(in crate::ledger) const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__ledger", include_str!("../../../migrations/postgres/0001_ledger.sql")),
    ("V2__housekeeping", include_str!("../../../migrations/postgres/0002_housekeeping.sql")),
    ("V3__operations", include_str!("../../../migrations/postgres/0003_operations.sql")),
    ("V4__country_pauses", include_str!("../../../migrations/postgres/0004_country_pauses.sql")),
];
/// Key of the advisory lock that serialises migrations.
const MIGRATION_LOCK: i64 = 0x6f74_706f_7374;
/// Tries of a migration that waits for a lock, and the pause between them.
const MAX_MIGRATION_TRIES: u32 = 20;
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);

/// A migration got no lock.
const LOCKED_TABLE: &str = "the schema was not migrated, because another transaction locks a table; look for it in pg_stat_activity, end \
                            it, and run this again";
/// A migration found a table with the name of one of otpost's.
const FOREIGN_TABLE: &str = "the schema was not migrated, because it has a table with the name of one of otpost's tables, and no history of \
                             migrations; name an empty schema in ledger.url";

static FIND: LazyLock<String> =
    LazyLock::new(|| format!("select {} from dispatch d where d.tenant = $1 and d.id = $2", *ROW));
static READ: LazyLock<String> = LazyLock::new(|| format!("select {} from dispatch d where d.uid = $1", *ROW));

/// Checks a URL without a server. An error is a sentence.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    Server::parse(url, connection::APPLICATION).map(drop).map_err(|why| format!("ledger.url {why}"))
}

impl Postgres {
    /// Checks what does not change while the process runs.
    async fn check_suitable(&self) -> Result<(), LedgerError> {
        self.check_pooler().await?;
        self.check_rights().await?;
        self.check_tables().await
    }

    /// Reads one dispatch.
    async fn read_one(&self, sql: &str, params: &[Param<'_>]) -> Result<Option<Dispatch>, LedgerError> {
        self.query(sql, params).await?.first().map(|row| reading::read(row, 0)).transpose()
    }
}

#[async_trait]
impl Store for Postgres {
    async fn migrate(&self) -> Result<(), LedgerError> {
        self.check_pooler().await?;
        self.check_schema_right().await?;
        // A connection outside the pool. Closing it releases the advisory lock in every case.
        let mut connection = Object::take(self.object().await?);
        let setting = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0";
        connection.batch_execute(setting).await.map_err(|e| ledger_error(&e))?;
        connection
            .execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(|e| ledger_error(&e))?;
        // A migration that waits for a table lets nobody else use the table. So it waits briefly, and tries again.
        connection.batch_execute("set lock_timeout = '2s'").await.map_err(|e| ledger_error(&e))?;
        let mut tries = 0;
        loop {
            tries += 1;
            match run_migrations(&mut connection).await {
                Err(LedgerError::TooSlow(_)) if tries < MAX_MIGRATION_TRIES => {
                    tokio::time::sleep(MIGRATION_PAUSE).await;
                }
                Err(LedgerError::TooSlow(_)) => return Err(LedgerError::Unusable(LOCKED_TABLE.to_owned())),
                Err(e) => return Err(e),
                Ok(()) => return self.check_tables().await,
            }
        }
    }

    async fn check(&self) -> Result<Timestamp, LedgerError> {
        self.is_suitable.get_or_try_init(|| self.check_suitable()).await?;
        let sql = "select clock_timestamp(), (select max(version) from refinery_schema_history)::int8,
                          (select max(oldest_version) from compatibility)::int8";
        let rows = self.query(sql, &[]).await?;
        let row = rows.first().ok_or_else(|| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))?;
        schema::check(row.get(1), row.get::<_, Option<i64>>(2).unwrap_or(0), MIGRATIONS.len() as i64)?;
        self.check_writable().await?;
        Ok(row.get(0))
    }

    async fn admit(&self, group: &[Arc<Admission>]) -> Result<Vec<AdmissionResult>, LedgerError> {
        self.admit_group(group).await
    }

    async fn begin(&self, group: &[Arc<BeginRequest>]) -> Result<Vec<BeginResult>, LedgerError> {
        self.begin_group(group).await
    }

    async fn write_unlocked(
        &self, group: &[Arc<DecisionWrite>],
    ) -> Result<Vec<Option<WriteResult>>, LedgerError> {
        self.unlocked_group(group).await
    }

    async fn write_locked(&self, group: &[Arc<DecisionWrite>]) -> Result<Vec<WriteResult>, LedgerError> {
        self.locked_group(group).await
    }

    async fn record(&self, group: &[Arc<AttemptReceipt>]) -> Result<Vec<Recorded>, LedgerError> {
        self.record_group(group).await
    }

    async fn stop(&self, request: &StopRequest) -> Result<Stopped, LedgerError> {
        self.stop_one(request).await
    }

    async fn advance(&self, request: &AdvanceRequest) -> Result<AdvanceResult, LedgerError> {
        self.advance_one(request).await
    }

    async fn take(&self, group: &[Arc<Uuid>]) -> Result<Vec<Option<Dispatch>>, LedgerError> {
        self.take_group(group).await
    }

    async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError> {
        let mut taken = vec![];
        for (is_fresh, limit) in [(true, fresh), (false, begun)] {
            match self.take_due_of(is_fresh, limit, &mut taken).await {
                Err(e) if taken.is_empty() => return Err(e),
                // Without this, the dispatches that this scan has leased would wait for the end of their lease.
                Err(_) => break,
                Ok(()) => {}
            }
        }
        Ok(taken)
    }

    async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.read_one(&FIND, &[&tenant, &id]).await
    }

    async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.read_one(&READ, &[&uid]).await
    }

    async fn take_events(&self, receiver: &Receiver, limit: usize) -> Result<Vec<EventBatch>, LedgerError> {
        self.take_batches(receiver, limit).await
    }

    async fn record_undelivered(&self, left: &Undelivered) -> Result<(), LedgerError> {
        self.record_undelivered_events(left).await
    }

    async fn delete_delivered(&self) -> Result<(), LedgerError> {
        self.delete_delivered_rows().await
    }

    async fn forget_events(
        &self, created_before: Timestamp, configured: &[Receiver], limit: usize,
    ) -> Result<u64, LedgerError> {
        self.forget_old_events(created_before, configured, limit).await
    }

    async fn undelivered(&self, receiver: &Receiver, uid: Uuid) -> Result<Vec<EventBatch>, LedgerError> {
        self.undelivered_batches(receiver, uid).await
    }

    async fn webhook_rows(&self, tenant: &str, limit: usize) -> Result<Vec<WebhookRow>, LedgerError> {
        self.webhook_events(tenant, limit).await
    }

    async fn replay_webhooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError> {
        self.replay_webhook_events(tenant, only).await
    }

    async fn heartbeat(&self, worker: &str) -> Result<usize, LedgerError> {
        let sql = "with me as (insert into worker values ($1, clock_timestamp())
                               on conflict (name) do update set seen_at = excluded.seen_at)
                   select to_jsonb(count(*) + 1) from worker
                    where name <> $1 and seen_at > clock_timestamp() - make_interval(secs => $2)";
        Ok(self.json(sql, &[&worker, &WORKER_ALIVE.as_secs_f64()]).await?.pop().unwrap_or(1))
    }

    async fn remove_worker(&self, worker: &str) -> Result<(), LedgerError> {
        let sql = "with gone as (delete from worker where name = $1 or seen_at < clock_timestamp() - interval '1 day')
                   delete from housekeeping where worker = $1";
        self.execute(sql, &[&worker]).await.map(drop)
    }

    async fn claim_housekeeping(&self, worker: &str, lease: Duration) -> Result<bool, LedgerError> {
        let sql =
            "insert into housekeeping as h values (1, $1, clock_timestamp() + make_interval(secs => $2))
                   on conflict (id) do update set worker = excluded.worker, until = excluded.until
                    where h.worker = excluded.worker or h.until <= clock_timestamp()";
        Ok(self.execute(sql, &[&worker, &lease.as_secs_f64()]).await? == 1)
    }

    async fn strays(&self, limit: usize) -> Result<Vec<AttemptReceipt>, LedgerError> {
        // Whether the attempt exists is decided when the receipt is recorded. The choice is random, so that those that can never be
        // recorded do not keep back the others.
        let sql =
            "with old as (delete from stray_receipt where received_at < clock_timestamp() - make_interval(secs => $2)),
                  chosen as (select s.* from stray_receipt s join dispatch d on d.uid = s.uid
                            where d.n > s.n or (d.n = s.n and d.carrier = s.carrier) order by random() limit $1)
             select s.receipt || jsonb_build_object('uid', s.uid, 'n', s.n, 'carrier', s.carrier) from chosen s order by s.received_at";
        self.readable_json(sql, &[&(limit as i64), &RECEIPT_KEPT.as_secs_f64()]).await
    }

    async fn delete_stray(&self, stray: &AttemptReceipt) -> Result<(), LedgerError> {
        let sql = "with gone as (delete from stray_receipt
                                  where uid = $1 and n = $2 and carrier = $3 and receipt = jsonb_strip_nulls($4))
                   select to_jsonb(1)";
        let receipt =
            serde_json::to_value(&stray.receipt).map_err(|e| LedgerError::Unusable(e.to_string()))?;
        let _: Vec<Value> =
            self.json(sql, &[&stray.uid, &(stray.n as i16), &stray.carrier, &receipt]).await?;
        Ok(())
    }

    async fn purge(&self, admitted_before: Timestamp, limit: usize) -> Result<u64, LedgerError> {
        self.purge_step(admitted_before, limit).await
    }

    async fn purge_quotas(&self, limit: usize) -> Result<u64, LedgerError> {
        self.purge_quotas_step(limit).await
    }

    async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError> {
        let sql = "with made as (insert into api_key values ($1, $2, $3, $4, clock_timestamp()) returning 1)
                   select to_jsonb(count(*)) from made";
        let _: Vec<Value> = self.json(sql, &[&key.id, &key.tenant, &key.scopes, &key.hash]).await?;
        Ok(())
    }

    async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError> {
        let sql = "select to_jsonb(k) from api_key k where id = $1 and revoked_at is null";
        Ok(self.json(sql, &[&id]).await?.pop())
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError> {
        self.json("select to_jsonb(k) from api_key k order by created_at desc", &[]).await
    }

    async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError> {
        let sql = "with gone as (update api_key set revoked_at = clock_timestamp()
                                  where id = $1 and revoked_at is null returning 1)
                   select to_jsonb(count(*)) from gone";
        Ok(self.json(sql, &[&id]).await?.pop().unwrap_or(0) == 1)
    }
}

/// Runs the migrations that are missing. Those of a later version stay.
async fn run_migrations(client: &mut tokio_postgres::Client) -> Result<(), LedgerError> {
    let failed = |e: refinery::Error| {
        let known = std::error::Error::source(&e)
            .and_then(|e| e.downcast_ref::<tokio_postgres::Error>())
            .map(|e| match e.code() {
                Some(&SqlState::DUPLICATE_TABLE) => LedgerError::Unusable(FOREIGN_TABLE.to_owned()),
                _ => ledger_error(e),
            });
        known.unwrap_or_else(|| LedgerError::Unusable(format!("the schema cannot be migrated: {}", e.kind())))
    };
    let migrations: Result<Vec<_>, _> =
        MIGRATIONS.iter().map(|(name, sql)| refinery::Migration::unapplied(name, sql)).collect();
    refinery::Runner::new(&migrations.map_err(failed)?)
        .set_abort_missing(false)
        .run_async(client)
        .await
        .map_err(failed)?;
    Ok(())
}
