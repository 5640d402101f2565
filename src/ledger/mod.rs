//! The store of dispatches, attempts, receipts and quotas, in `PostgreSQL` or in one `SQLite` file.
//!
//! Comes in: admissions, attempts, facts and decisions. Goes out: rows, and events for the outbox. Nothing here sends a message.
//!
//! Callers submit one item each. Items of one kind that gather while a group runs form the next one (`group`). Where a store locks
//! rows, it reads the clock after that. A decision names the version that it expects (optimistic locking). If the row has another
//! version, only the outcome of the attempt is written, and the caller gets the current row and decides again. A fact, such as a receipt,
//! names no version.

pub mod decide;
mod error;
mod facts;
mod group;
pub mod health;
mod items;
mod measures;
mod message_ids;
mod observer;
mod operators;
mod outgoing;
mod postgres;
mod schema;
mod sqlite;
mod statistics;
mod store;
mod time;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::domain::clock::Clock;
use crate::domain::dispatch::Dispatch;
pub use error::LedgerError;
pub use facts::FactObserver;
use facts::Facts;
use group::Group;
pub use items::{
    Admission, AdmissionResult, AdvanceRequest, AdvanceResult, AttemptOutcome, AttemptReceipt, AuditRecord,
    BeginRequest, BeginResult, Block, DecisionWrite, Destinations, DispatchPage, DispatchSearch, EraseStep,
    Erased, EventBatch, FullQuota, KeyRow, LeftDispatch, Limit, LostCommit, NewAttempt, NewAuditRecord,
    NewBlock, NewPause, OnRefusal, OperatorAct, Pause, PendingEvents, Probe, QuotaOwner, Receiver,
    RecordResult, Recorded, Refusal, RetryResult, SearchBy, StopRequest, StopResult, Stopped,
    StoredRestrictions, Undelivered, WebhookRow, WriteResult,
};
pub use measures::{Backlog, PoolState, Waiting};
use observer::Observed;
pub use observer::Observer;
use outgoing::Outgoing;
pub use postgres::Server as PostgresServer;
pub use statistics::ProcessReport;
use store::Store;
use time::ClockEstimate;

/// Under load, a small group of decisions waits this long for more. This saves processor time for admissions. It delays a recipient only if
/// the dispatch needs another request.
const GATHERING: Duration = Duration::from_millis(3);

/// The location of the ledger, parsed from its URL. It has no `Debug`, because the URL may hold a password.
#[derive(Clone)]
pub enum Location {
    /// `postgres://user:password@host:port/database`
    Postgres(String),
    /// `sqlite:path/to/file`
    Sqlite(std::path::PathBuf),
}

impl std::str::FromStr for Location {
    type Err = LedgerError;

    fn from_str(url: &str) -> Result<Self, LedgerError> {
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                postgres::check_url(url).map_err(LedgerError::Unusable)?;
                Ok(Self::Postgres(url.to_owned()))
            }
            Some(("sqlite", path)) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            _ => Err(LedgerError::Unusable(
                "ledger.url must begin with postgres:// or sqlite: (such as sqlite:otpost.db)".to_owned(),
            )),
        }
    }
}

/// Connection options of the ledger.
#[derive(Debug, Clone)]
pub struct Options {
    /// Maximum number of connections (PostgreSQL only).
    pub pool: usize,
    /// Time limit of a statement.
    pub statement_timeout: Duration,
    /// The clock of an SQLite ledger. PostgreSQL uses the server's clock.
    pub clock: Clock,
    /// A file with certificates of authorities that are trusted beside those of the machine (PostgreSQL only).
    pub ca_file: Option<std::path::PathBuf>,
    /// Whether to lock the file of an SQLite ledger against other processes. A process that sends needs this lock.
    pub exclusive: bool,
}

impl Default for Options {
    fn default() -> Self {
        let statement_timeout = Duration::from_secs(5);
        Self { pool: 8, statement_timeout, clock: Clock::System, ca_file: None, exclusive: true }
    }
}

/// Handle to the ledger. Cloning it is cheap.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    time: Arc<ClockEstimate>,
    admits: Group<Admission, AdmissionResult>,
    begins: Group<BeginRequest, BeginResult>,
    decisions: Group<DecisionWrite, Option<WriteResult>>,
    /// Decisions that need locks. They have a group of their own, because a transaction that waits for a lock, or fails, must not take
    /// the answers of other decisions with it.
    locked_decisions: Group<DecisionWrite, WriteResult>,
    records: Group<AttemptReceipt, Recorded>,
    takes: Group<Uuid, Option<Dispatch>>,
    outgoing: Arc<Outgoing>,
    observed: Observed,
    facts: Arc<Facts>,
}

/// Opens a ledger. It does not check the schema: call [`Ledger::migrate`] or [`Ledger::check`] for that.
pub fn open(location: &Location, options: &Options) -> Result<Ledger, LedgerError> {
    let outgoing = Arc::<Outgoing>::default();
    let store: Arc<dyn Store> = match location {
        Location::Postgres(url) => Arc::new(postgres::Postgres::new(url, options, Arc::clone(&outgoing))?),
        Location::Sqlite(path) => Arc::new(sqlite::Sqlite::open(path, options, Arc::clone(&outgoing))?),
    };
    Ok(Ledger::with_store(store, outgoing))
}

/// The schema that [`Ledger::migrate`] creates, as SQL.
pub fn schema(location: &Location) -> String {
    let migrations = match location {
        Location::Postgres(_) => postgres::MIGRATIONS,
        Location::Sqlite(_) => sqlite::MIGRATIONS,
    };
    migrations.iter().map(|(_, sql)| *sql).collect()
}

impl Ledger {
    fn with_store(store: Arc<dyn Store>, outgoing: Arc<Outgoing>) -> Self {
        let observed = Observed::default();
        macro_rules! group {
            ($act:ident, $gathering:expr) => {{
                let store = Arc::clone(&store);
                Group::start(stringify!($act), $gathering, observed.clone(), move |items| {
                    let store = Arc::clone(&store);
                    Box::pin(async move { store.$act(&items).await })
                })
            }};
        }
        Self {
            admits: group!(admit, Duration::ZERO),
            begins: group!(begin, Duration::ZERO),
            decisions: group!(write_unlocked, GATHERING),
            locked_decisions: group!(write_locked, Duration::ZERO),
            records: group!(record, Duration::ZERO),
            takes: group!(take, Duration::ZERO),
            outgoing,
            facts: Arc::default(),
            time: Arc::default(),
            store,
            observed,
        }
    }

    /// Migrates the schema to this version.
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        self.store.migrate().await
    }

    /// Checks that the ledger answers and has the right schema and, after a refused write, that it accepts writes again. Returns the
    /// ledger's clock.
    pub async fn check(&self) -> Result<Timestamp, LedgerError> {
        let sent_at = crate::domain::clock::boot();
        let theirs = group::run_once("check", &self.observed, self.store.check())
            .await
            .inspect_err(|e| self.observed.report(|to| to.failed("check", e)))?;
        self.time.record_reading(theirs, sent_at, crate::domain::clock::boot());
        Ok(theirs)
    }

    /// The ledger's clock, estimated since the last check. Without a check, this machine's clock.
    pub fn now(&self) -> Timestamp {
        self.time.now(crate::domain::clock::boot()).unwrap_or_else(crate::domain::clock::now)
    }

    /// Admits a job, with its first attempt if it has one.
    pub async fn admit(&self, job: impl Into<Arc<Admission>>) -> Result<AdmissionResult, LedgerError> {
        self.admits.submit(job).await
    }

    /// Commits an attempt. This happens before the first byte of its request is sent.
    pub async fn begin(&self, attempt: BeginRequest) -> Result<BeginResult, LedgerError> {
        self.begins.submit(attempt).await
    }

    /// Writes a decision: an outcome with its transition, or only a transition.
    pub async fn write_decision(
        &self, write: impl Into<Arc<DecisionWrite>>,
    ) -> Result<WriteResult, LedgerError> {
        let write = write.into();
        let written = match self.decisions.submit(Arc::clone(&write)).await? {
            Some(written) => written,
            None => self.locked_decisions.submit(Arc::clone(&write)).await?,
        };
        self.facts.publish_decision(&write, &written, self.now());
        Ok(written)
    }

    /// Records a delivery receipt. If the carrier's texts cannot be stored, the receipt is recorded without them.
    pub async fn record(&self, receipt: AttemptReceipt) -> Result<RecordResult, LedgerError> {
        let recorded = match self.records.submit(receipt.clone()).await {
            Err(LedgerError::Data { .. }) if receipt.has_carrier_texts() => {
                tracing::warn!(
                    dispatch.uid = %receipt.uid, attempt = receipt.n, carrier = receipt.carrier,
                    "the ledger cannot store a receipt's code or message id; the receipt is recorded without them"
                );
                self.records.submit(receipt.without_carrier_texts()).await?
            }
            answered => answered?,
        };
        self.facts.publish(recorded.facts);
        Ok(recorded.result)
    }

    /// Stops a dispatch: no further attempt begins.
    pub async fn stop(&self, request: StopRequest) -> Result<StopResult, LedgerError> {
        let stopped = group::with_retries("stop", &self.observed, || self.store.stop(&request)).await?;
        self.facts.publish_verified(&request, stopped.verified);
        Ok(stopped.result)
    }

    /// Requests the next step of a dispatch.
    pub async fn advance(&self, request: AdvanceRequest) -> Result<AdvanceResult, LedgerError> {
        let mut runs = 0;
        let run = || {
            runs += 1;
            let is_repeated = runs > 1;
            let advancing = self.store.advance(&request);
            async move {
                match advancing.await {
                    // An earlier run was committed, and its answer was lost.
                    Ok(AdvanceResult::Pending { state }) if is_repeated => {
                        Ok(AdvanceResult::Before { state })
                    }
                    answered => answered,
                }
            }
        };
        group::with_retries("advance", &self.observed, run).await
    }

    /// Takes one dispatch for a lease if it is due.
    pub async fn take(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.takes.submit(uid).await
    }

    /// Takes due dispatches for a lease: at most `fresh` without an attempt, then at most `begun` others.
    pub async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError> {
        group::with_retries("take_due", &self.observed, || self.store.take_due(fresh, begun)).await
    }

    /// Reads a dispatch with all its attempts, by the tenant's id.
    pub async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.store.find(tenant, id).await
    }

    /// Reads a dispatch with all its attempts, by its uid.
    pub async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.store.read(uid).await
    }

    /// Sets the publisher of this process, which gets the events of its commits. Stored batches that do not fit into its queue are taken
    /// by [`Ledger::take_events`] after their lease; those of the live stream are lost and counted. Events whose commit was not answered
    /// come with [`Ledger::take_events`] too.
    pub fn publish_to(&self, publisher: mpsc::Sender<EventBatch>) {
        self.outgoing.publish_to(publisher);
    }

    /// Takes due batches of a receiver for a lease, the longest due first, until they hold `limit` dispatches; the last batch may exceed
    /// it.
    pub async fn take_events(
        &self, receiver: &Receiver, limit: usize,
    ) -> Result<Vec<EventBatch>, LedgerError> {
        group::with_retries("take_events", &self.observed, || self.store.take_events(receiver, limit)).await
    }

    /// Notes that all events of a batch are delivered. In PostgreSQL the next write of decisions deletes its row; otherwise
    /// [`Ledger::delete_delivered`] does.
    pub fn mark_delivered(&self, batch: &EventBatch) {
        self.outgoing.add_delivered([batch.id]);
    }

    /// Deletes the rows of delivered batches that no write has deleted yet.
    pub async fn delete_delivered(&self) -> Result<(), LedgerError> {
        group::with_retries("delete_delivered", &self.observed, || self.store.delete_delivered()).await
    }

    /// Sets the observer of this process. It gets what this process commits about attempts.
    pub fn observe(&self, observer: FactObserver) {
        self.facts.observe(observer);
    }

    /// Takes the number of events that the live stream has missed since the last call, because the publisher's queue was full.
    pub fn take_missed(&self) -> u64 {
        self.outgoing.take_missed()
    }

    /// Deletes at most `limit` rows of the outbox that were created before this time, and returns their number. Deletes rows of webhooks,
    /// and rows of a broker that is not configured any more.
    pub async fn forget_events(
        &self, created_before: Timestamp, configured: &[Receiver], limit: usize,
    ) -> Result<u64, LedgerError> {
        self.store.forget_events(created_before, configured, limit).await
    }

    /// Records what a try did not deliver.
    pub async fn record_undelivered(&self, left: &Undelivered) -> Result<(), LedgerError> {
        group::with_retries("record_undelivered", &self.observed, || self.store.record_undelivered(left))
            .await
    }

    /// Reads the batches that hold events of this dispatch, the oldest first, without a lease.
    pub async fn undelivered(&self, receiver: &Receiver, uid: Uuid) -> Result<Vec<EventBatch>, LedgerError> {
        self.store.undelivered(receiver, uid).await
    }

    /// A tenant's waiting and failed webhook events, newest first.
    pub async fn webhook_rows(&self, tenant: &str, limit: usize) -> Result<Vec<WebhookRow>, LedgerError> {
        self.store.webhook_rows(tenant, limit).await
    }

    /// Makes failed webhook events due again: one, or all of a tenant. Returns their number.
    pub async fn replay_webhooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError> {
        let mut all = 0;
        loop {
            // Each step is bounded, so that no statement reaches its time limit.
            let replayed = group::with_retries("replay_webhooks", &self.observed, || {
                self.store.replay_webhooks(tenant, only)
            })
            .await?;
            all += replayed;
            if only.is_some() || replayed == 0 {
                return Ok(all);
            }
        }
    }

    /// Records a heartbeat of a worker. Returns the number of live workers.
    pub async fn heartbeat(&self, worker: &str) -> Result<usize, LedgerError> {
        self.store.heartbeat(worker).await
    }

    /// Removes a worker, so that the other workers can use its share of the rate limits and do its housekeeping.
    pub async fn remove_worker(&self, worker: &str) -> Result<(), LedgerError> {
        self.store.remove_worker(worker).await
    }

    /// Makes this worker the one that deletes old rows, until the lease ends. Returns false while another worker is.
    pub async fn claim_housekeeping(&self, worker: &str, lease: Duration) -> Result<bool, LedgerError> {
        self.store.claim_housekeeping(worker, lease).await
    }

    /// Records stray receipts whose attempt now exists, and deletes strays older than 72 h. Returns the number of matched
    /// receipts.
    pub async fn match_strays(&self) -> Result<usize, LedgerError> {
        let mut found = 0;
        for stray in self.store.strays(200).await? {
            match self.record(stray.clone()).await {
                // The receipt stays stored as a stray.
                Ok(RecordResult::Stray) => {}
                Err(e) if e.is_of_one_item() => {}
                recorded => {
                    recorded?;
                    self.store.delete_stray(&stray).await?;
                    found += 1;
                }
            }
        }
        Ok(found)
    }

    /// Deletes at most `limit` final dispatches without pending events that were admitted before `admitted_before`.
    /// Returns their number.
    pub async fn purge(&self, admitted_before: Timestamp, limit: usize) -> Result<u64, LedgerError> {
        self.store.purge(admitted_before, limit).await
    }

    /// Deletes at most `limit` quotas whose last use is older than the longest window of any rule. Returns their number.
    pub async fn purge_quotas(&self, limit: usize) -> Result<u64, LedgerError> {
        self.store.purge_quotas(limit).await
    }

    /// Stores a new API key.
    pub async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError> {
        self.store.add_key(key).await
    }

    /// All API keys, including revoked ones, newest first.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError> {
        self.store.keys().await
    }

    /// Revokes an API key. Returns false when there is no valid key with this id.
    pub async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError> {
        self.store.revoke_key(id).await
    }

    /// The API key with this public part, unless it was revoked.
    pub async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError> {
        self.store.key(id).await
    }
}
