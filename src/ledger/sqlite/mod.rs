//! The ledger in one SQLite file, for a laptop or a single machine. One thread accesses the file, and a lock file excludes
//! other processes.

mod fault;
mod file;
mod measures;
mod message_ids;
mod operations;
mod operators;
mod row;
mod statistics;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::items::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptReceipt, BeginRequest, BeginResult,
    DecisionWrite, EventBatch, KeyRow, Receiver, Recorded, StopRequest, Stopped, Undelivered, WebhookRow,
    WriteResult,
};
use super::outgoing::Outgoing;
use super::store::{FINAL_STATES, RECEIPT_KEPT};
use super::time::uuid_at;
use super::{LedgerError, Options, Store, schema};
use crate::domain::clock::Clock;
use crate::domain::dispatch::Dispatch;
use crate::domain::quota;
use fault::Fault;

/// Migrations in order, with the same numbers and names as those for PostgreSQL.
pub(super) const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__ledger", include_str!("../../../migrations/sqlite/0001_ledger.sql")),
    ("V2__housekeeping", include_str!("../../../migrations/sqlite/0002_housekeeping.sql")),
    ("V3__operations", include_str!("../../../migrations/sqlite/0003_operations.sql")),
    ("V4__country_pauses", include_str!("../../../migrations/sqlite/0004_country_pauses.sql")),
];
/// Number of quotas that one purge looks at.
const QUOTAS_PER_PURGE: i64 = 10_000;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Sqlite {
    jobs: mpsc::Sender<Job>,
    clock: Clock,
    /// The last write was refused. Only a successful trial write clears it, because reads succeed on a full disk.
    write_refused: Arc<AtomicBool>,
    outgoing: Arc<Outgoing>,
    /// The key of the last quota that a purge has looked at. `None`: the next purge begins at the first one.
    purged_to: Mutex<Option<String>>,
}

impl Sqlite {
    pub(super) fn open(path: &Path, options: &Options, outgoing: Arc<Outgoing>) -> Result<Self, LedgerError> {
        let lock = options.exclusive.then(|| file::lock(path)).transpose()?;
        let mut db = file::connect(path)?;
        let (jobs, mut inbox) = mpsc::channel::<Job>(1024);
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                while let Some(job) = inbox.blocking_recv() {
                    // A panic fails this job only. Its transaction is rolled back when it is dropped.
                    let _ = catch_unwind(AssertUnwindSafe(|| job(&mut db)));
                }
                drop(db);
                drop(lock);
            })
            .map_err(|_| LedgerError::Unusable("no thread for the ledger".to_owned()))?;
        Ok(Self {
            jobs,
            clock: options.clock.clone(),
            write_refused: Arc::default(),
            outgoing,
            purged_to: Mutex::default(),
        })
    }

    /// Runs one write transaction in the file's thread.
    async fn write<T: Send + 'static>(
        &self, work: impl FnOnce(&Connection, Timestamp) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let clock = self.clock.clone();
        let done = self.run(move |db| {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&tx, clock.now())?;
            tx.commit()?;
            Ok(done)
        });
        let done = done.await;
        if matches!(done, Err(LedgerError::Unwritable(_))) {
            self.write_refused.store(true, Ordering::Relaxed);
        }
        done
    }

    /// After a refused write: writes as much as a large group and deletes it again. `secure_delete` overwrites deleted pages,
    /// so all of it reaches the disk.
    async fn try_to_write(&self) -> Result<(), LedgerError> {
        let sql = "create table trial (page); insert into trial values (zeroblob(262144)); drop table trial";
        self.write(move |db, _| Ok(db.execute_batch(sql)?)).await?;
        self.write_refused.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn run<T: Send + 'static>(
        &self, work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let gone = || LedgerError::Unreachable("closed".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let _ = answer.send(work(db));
        });
        self.jobs.send(job).await.map_err(|_| gone())?;
        Ok(answered.await.map_err(|_| gone())??)
    }

    /// Runs a group as one transaction, and hands its events to the publisher.
    async fn group<I: Send + Sync + 'static, O: Send + 'static>(
        &self, group: &[Arc<I>],
        act: impl Fn(&Connection, &I, Timestamp, &mut Vec<EventBatch>) -> Result<O, Fault> + Send + 'static,
    ) -> Result<Vec<O>, LedgerError> {
        let group: Vec<Arc<I>> = group.to_vec();
        let work = move |db: &Connection, now| {
            let mut batches = vec![];
            let answers: Result<_, Fault> =
                group.iter().map(|item| act(db, item, now, &mut batches)).collect();
            Ok((answers?, batches))
        };
        let (answers, batches) = self.write(work).await?;
        self.outgoing.publish(batches);
        Ok(answers)
    }
}

/// Reads kept receipts: uid, number of the attempt, carrier, receipt.
fn receipts(db: &Connection, sql: &str, limit: usize) -> Result<Vec<AttemptReceipt>, Fault> {
    let rows: Vec<(String, u16, String, String)> = db
        .prepare_cached(sql)?
        .query_map([limit as i64], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<Result<_, _>>()?;
    let read = |(uid, n, carrier, receipt): (String, u16, String, String)| {
        let (uid, receipt) = (uid.parse().ok(), serde_json::from_str(&receipt).ok());
        if receipt.is_none() {
            tracing::error!(reason = %LedgerError::UnknownForm, "a kept receipt cannot be read");
        }
        Some(AttemptReceipt { uid: uid?, n, carrier, receipt: receipt? })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

#[async_trait]
impl Store for Sqlite {
    async fn migrate(&self) -> Result<(), LedgerError> {
        let failed = |e: refinery::Error| {
            let known =
                std::error::Error::source(&e).and_then(|e| e.downcast_ref()).and_then(fault::disk_error);
            let kind = || LedgerError::Unusable(format!("the schema cannot be migrated: {}", e.kind()));
            known.unwrap_or_else(kind)
        };
        let migrations: Result<Vec<_>, _> =
            MIGRATIONS.iter().map(|(name, sql)| refinery::Migration::unapplied(name, sql)).collect();
        let migrations = migrations.map_err(failed)?;
        self.run(move |db| {
            // One transaction. Ungrouped, refinery commits a schema before its version: a process that is killed in between leaves a
            // schema that cannot be migrated.
            let runner = refinery::Runner::new(&migrations).set_grouped(true).set_abort_missing(false);
            Ok(runner.run(db).map(|_| ()))
        })
        .await?
        .map_err(failed)
    }

    async fn check(&self) -> Result<Timestamp, LedgerError> {
        let sql = "select (select max(version) from refinery_schema_history), (select max(oldest_version) from compatibility)";
        let (version, oldest): (Option<i64>, Option<i64>) = self
            .run(move |db| match db.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))) {
                // A table does not exist.
                Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => Ok((None, None)),
                found => Ok(found?),
            })
            .await?;
        schema::check(version, oldest.unwrap_or(0), MIGRATIONS.len() as i64)?;
        if self.write_refused.load(Ordering::Relaxed) {
            self.try_to_write().await?;
        }
        Ok(self.clock.now())
    }

    async fn admit(&self, group: &[Arc<Admission>]) -> Result<Vec<AdmissionResult>, LedgerError> {
        self.group(group, operations::admit).await
    }

    async fn begin(&self, group: &[Arc<BeginRequest>]) -> Result<Vec<BeginResult>, LedgerError> {
        self.group(group, |db, request: &BeginRequest, now, _| operations::begin(db, request, now)).await
    }

    async fn write_unlocked(
        &self, group: &[Arc<DecisionWrite>],
    ) -> Result<Vec<Option<WriteResult>>, LedgerError> {
        // There is one writer, so no row is ever locked by another.
        Ok(self.write_locked(group).await?.into_iter().map(Some).collect())
    }

    async fn write_locked(&self, group: &[Arc<DecisionWrite>]) -> Result<Vec<WriteResult>, LedgerError> {
        self.group(group, operations::write_decision).await
    }

    async fn record(&self, group: &[Arc<AttemptReceipt>]) -> Result<Vec<Recorded>, LedgerError> {
        self.group(group, |db, receipt: &AttemptReceipt, now, _| operations::record(db, receipt, now)).await
    }

    async fn stop(&self, request: &StopRequest) -> Result<Stopped, LedgerError> {
        let request = request.clone();
        self.write(move |db, now| operations::stop(db, &request, now)).await
    }

    async fn advance(&self, request: &AdvanceRequest) -> Result<AdvanceResult, LedgerError> {
        let request = request.clone();
        self.write(move |db, now| operations::advance(db, &request, now)).await
    }

    async fn take(&self, group: &[Arc<Uuid>]) -> Result<Vec<Option<Dispatch>>, LedgerError> {
        let group = group.to_vec();
        self.write(move |db, now| group.iter().map(|uid| operations::take(db, **uid, now)).collect()).await
    }

    async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError> {
        self.write(move |db, now| operations::take_due(db, fresh, begun, now)).await
    }

    async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        let (tenant, clock) = (tenant.to_owned(), self.clock.clone());
        self.run(move |db| operations::find(db, &tenant, id, clock.now())).await
    }

    async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        let clock = self.clock.clone();
        self.run(move |db| row::load(db, uid, clock.now())).await
    }

    async fn take_events(&self, receiver: &Receiver, limit: usize) -> Result<Vec<EventBatch>, LedgerError> {
        let receiver = receiver.clone();
        self.write(move |db, now| operations::take_events(db, &receiver, limit, now)).await
    }

    async fn record_undelivered(&self, left: &Undelivered) -> Result<(), LedgerError> {
        let left = left.clone();
        self.write(move |db, now| operations::record_undelivered(db, &left, now)).await
    }

    async fn delete_delivered(&self) -> Result<(), LedgerError> {
        let rows = self.outgoing.take_delivered();
        if rows.is_empty() {
            return Ok(());
        }
        let gone = rows.clone();
        let deleted = self.write(move |db, _| operations::delete(db, &gone)).await;
        if deleted.is_err() {
            self.outgoing.add_delivered(rows);
        }
        deleted
    }

    async fn forget_events(
        &self, created_before: Timestamp, configured: &[Receiver], limit: usize,
    ) -> Result<u64, LedgerError> {
        let configured = configured.to_vec();
        self.write(move |db, _| operations::forget_events(db, created_before, &configured, limit)).await
    }

    async fn undelivered(&self, receiver: &Receiver, uid: Uuid) -> Result<Vec<EventBatch>, LedgerError> {
        let receiver = receiver.clone();
        self.run(move |db| operations::undelivered(db, &receiver, uid)).await
    }

    async fn webhook_rows(&self, tenant: &str, limit: usize) -> Result<Vec<WebhookRow>, LedgerError> {
        let tenant = tenant.to_owned();
        self.run(move |db| operations::webhook_rows(db, &tenant, limit)).await
    }

    async fn replay_webhooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError> {
        let tenant = tenant.to_owned();
        self.write(move |db, now| operations::replay_webhooks(db, &tenant, only, now)).await
    }

    async fn heartbeat(&self, _: &str) -> Result<usize, LedgerError> {
        // Only one process can open the file.
        Ok(1)
    }

    async fn remove_worker(&self, _: &str) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn claim_housekeeping(&self, _: &str, _: Duration) -> Result<bool, LedgerError> {
        Ok(true)
    }

    async fn strays(&self, limit: usize) -> Result<Vec<AttemptReceipt>, LedgerError> {
        self.write(move |db, now| {
            let old = now.checked_sub(RECEIPT_KEPT).unwrap_or(Timestamp::MIN).as_microsecond();
            db.execute("delete from stray_receipt where received_at < ?1", [old])?;
            let sql = "select s.uid, s.n, s.carrier, s.receipt from stray_receipt s
                         join attempt a on a.uid = s.uid and a.n = s.n and a.carrier = s.carrier order by s.received_at limit ?1";
            receipts(db, sql, limit)
        })
        .await
    }

    async fn delete_stray(&self, stray: &AttemptReceipt) -> Result<(), LedgerError> {
        let stray = stray.clone();
        self.write(move |db, _| {
            let receipt = serde_json::to_string(&stray.receipt)?;
            let sql = "delete from stray_receipt where uid = ?1 and n = ?2 and carrier = ?3 and receipt = ?4";
            db.prepare_cached(sql)?.execute((stray.uid.to_string(), stray.n, &stray.carrier, receipt))?;
            Ok(())
        })
        .await
    }

    async fn purge(&self, admitted_before: Timestamp, limit: usize) -> Result<u64, LedgerError> {
        self.write(move |db, _| {
            let sql = format!(
                "delete from dispatch where uid in (
                   select uid from dispatch where uid < ?1 and wake_at is null and state in ('{}')
                      and not exists (select 1 from outbox o where o.uid = dispatch.uid and o.due_at is not null)
                    order by uid limit ?2)",
                FINAL_STATES.join("', '")
            );
            let before = uuid_at(admitted_before).to_string();
            Ok(db.prepare_cached(&sql)?.execute((before, limit as i64))? as u64)
        })
        .await
    }

    async fn purge_quotas(&self, limit: usize) -> Result<u64, LedgerError> {
        // No index knows the newest use, so each call looks at some rows, and the next call goes on behind them.
        let from = self.purged_to.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let (gone, to) = self
            .write(move |db, now| {
                let kept = now.checked_sub(quota::LONGEST_WINDOW).unwrap_or(Timestamp::MIN).as_microsecond();
                let next = "select key from quota where key > ?1 order by key limit 1 offset ?2";
                let to: Option<String> =
                    db.prepare_cached(next)?.query_row((&from, QUOTAS_PER_PURGE), |r| r.get(0)).optional()?;
                let sql = "delete from quota where key in (
                            select key from quota where key > ?1 and (?2 is null or key <= ?2)
                               and coalesce(json_extract(uses, '$[#-1]'), 0) < ?3 limit ?4)";
                let gone = db.prepare_cached(sql)?.execute((&from, &to, kept, limit as i64))?;
                // If the limit ended the deletion, the next call looks at the same rows again.
                Ok((gone, if gone == limit { Some(from) } else { to }))
            })
            .await?;
        *self.purged_to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        Ok(gone as u64)
    }

    async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError> {
        let k = key.clone();
        self.write(move |db, now| {
            db.prepare_cached("insert into api_key values (?1, ?2, ?3, ?4, ?5, null)")?.execute((
                k.id,
                k.tenant,
                k.scopes,
                k.hash,
                now.as_microsecond(),
            ))?;
            Ok(())
        })
        .await
    }

    async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError> {
        let id = id.to_owned();
        let found = self.run(move |db| operations::keys(db, Some(&id))).await?;
        Ok(found.into_iter().find(|k| k.revoked_at.is_none()))
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError> {
        self.run(|db| operations::keys(db, None)).await
    }

    async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError> {
        let id = id.to_owned();
        self.write(move |db, now| {
            let sql = "update api_key set revoked_at = ?2 where id = ?1 and revoked_at is null";
            Ok(db.prepare_cached(sql)?.execute((id, now.as_microsecond()))? == 1)
        })
        .await
    }
}
