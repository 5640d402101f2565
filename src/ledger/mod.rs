//! The store of dispatches, attempts, receipts and quotas, in `PostgreSQL` or in one `SQLite` file.
//!
//! Comes in: admissions, attempts, facts and conclusions. Goes out: rows, and events for the outbox. Nothing here sends a message.
//!
//! Callers submit one item each. All items that gathered while the last transaction ran go into the next one (`group`). A store runs a
//! group as one transaction and reads the clock after it holds its locks. Each change names the version of the row that it expects
//! (optimistic locking); on a conflict the caller gets the current row, or drops its change.

mod group;
pub mod health;
mod items;
mod postgres;
mod sqlite;
mod time;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::clock::Clock;
use crate::domain::dispatch::Dispatch;
use group::Group;
pub use items::{
    Admission, Admitted, Advanced, Advancing, AttemptOutcome, Beginning, Begun, Concluded, DecisionWrite,
    DeliveryResult, Destinations, KeyRow, Limit, Marked, Marking, NewAttempt, PendingEvents, PublishedEvents,
    Recorded, Recording, Refusal, WebhookDelivery, WebhookRow,
};
use time::KnownTime;

/// Why the ledger did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It is away, or nobody knows whether it did it. The same item may be submitted again.
    #[error("the ledger does not answer ({0})")]
    Away(String),
    /// It is there, and its disk takes nothing; says what to do. Nothing was written, or nobody knows. The same item may
    /// be submitted again.
    #[error("{0}")]
    Unwritable(&'static str),
    /// This one item cannot be written: its fault, whatever its neighbours do.
    #[error("the ledger refuses the data (SQLSTATE {sqlstate}{})", constraint.as_ref().map(|c| format!(", {c}")).unwrap_or_default())]
    Data {
        /// The database's code of what is wrong.
        sqlstate: String,
        /// The constraint that it breaks, where there is one.
        constraint: Option<String>,
    },
    /// It is there, but not as it must be: its schema, its version, its file.
    #[error("{0}")]
    Unfit(String),
    /// Somebody was in the way; the whole group runs again.
    #[error("the ledger's rows changed meanwhile")]
    Again,
}

impl LedgerError {
    /// Whether nothing can be written for now, whatever it is.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unwritable(_))
    }

    /// Why a message cannot be kept, where it is its own fault: a dead letter's reason.
    pub fn bars(&self) -> Option<String> {
        let Self::Data { sqlstate, constraint } = self else { return None };
        let constraint = constraint.as_ref().map(|c| format!(" {c}")).unwrap_or_default();
        Some(format!("cannot be kept (SQLSTATE {sqlstate}{constraint})"))
    }
}

/// What a database does for the ledger. Each call is one transaction over a group; answers come in its order.
#[async_trait]
trait Store: Send + Sync {
    async fn migrate(&self) -> Result<(), LedgerError>;
    async fn check(&self) -> Result<Timestamp, LedgerError>;
    async fn admit(&self, group: &[Arc<Admission>]) -> Result<Vec<Admitted>, LedgerError>;
    async fn begin(&self, group: &[Arc<Beginning>]) -> Result<Vec<Begun>, LedgerError>;
    async fn conclude(&self, group: &[Arc<DecisionWrite>]) -> Result<Vec<Concluded>, LedgerError>;
    async fn record(&self, group: &[Arc<Recording>]) -> Result<Vec<Recorded>, LedgerError>;
    async fn stop(&self, marking: &Marking) -> Result<Marked, LedgerError>;
    async fn advance(&self, advancing: &Advancing) -> Result<Advanced, LedgerError>;
    async fn take(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError>;
    async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError>;
    async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError>;
    async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError>;
    async fn pending_events(&self, most: usize) -> Result<Vec<PendingEvents>, LedgerError>;
    async fn mark_published(&self, group: &[Arc<PublishedEvents>]) -> Result<Vec<()>, LedgerError>;
    async fn webhooks_due(&self, tenant: &str, most: usize) -> Result<Vec<WebhookDelivery>, LedgerError>;
    async fn hook_fate(&self, uid: Uuid, version: i64, fate: &DeliveryResult) -> Result<(), LedgerError>;
    async fn webhook_rows(&self, tenant: &str, most: usize) -> Result<Vec<WebhookRow>, LedgerError>;
    async fn replay_hooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError>;
    async fn beat(&self, worker: &str) -> Result<usize, LedgerError>;
    async fn retire(&self, worker: &str) -> Result<(), LedgerError>;
    async fn strays(&self, most: usize) -> Result<Vec<Recording>, LedgerError>;
    async fn forget_stray(&self, stray: &Recording) -> Result<(), LedgerError>;
    async fn purge(&self, born_before: Timestamp, most: usize) -> Result<u64, LedgerError>;
    async fn purge_quotas(&self, most: usize) -> Result<u64, LedgerError>;
    async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError>;
    async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError>;
    async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError>;
    async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError>;
}

/// Where the ledger is, from its URL. It has no `Debug`: the URL may hold a password.
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
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url.to_owned())),
            Some(("sqlite", path)) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            _ => Err(LedgerError::Unfit(
                "ledger.url must begin with postgres:// or sqlite: (such as sqlite:otpost.db)".to_owned(),
            )),
        }
    }
}

/// How the ledger is reached.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections at most (`PostgreSQL`).
    pub pool: usize,
    /// No statement may run longer.
    pub statement_timeout: Duration,
    /// The clock of an embedded ledger.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self { pool: 8, statement_timeout: Duration::from_secs(5), clock: Clock::System }
    }
}

/// The ledger, ready for use. Cloning it is cheap.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    time: Arc<KnownTime>,
    admits: Group<Admission, Admitted>,
    begins: Group<Beginning, Begun>,
    conclusions: Group<DecisionWrite, Concluded>,
    records: Group<Recording, Recorded>,
    publications: Group<PublishedEvents, ()>,
}

/// Opens a ledger. It is not asked for anything yet: `migrate` or `check` does that.
pub fn open(location: &Location, options: Options) -> Result<Ledger, LedgerError> {
    let store: Arc<dyn Store> = match location {
        Location::Postgres(url) => Arc::new(postgres::Postgres::new(url, &options)?),
        Location::Sqlite(path) => Arc::new(sqlite::Sqlite::open(path, options.clock)?),
    };
    Ok(Ledger::over(store))
}

/// The schema that `migrate` makes, as SQL.
pub fn schema(location: &Location) -> String {
    let migrations = match location {
        Location::Postgres(_) => postgres::MIGRATIONS,
        Location::Sqlite(_) => sqlite::MIGRATIONS,
    };
    migrations.iter().map(|(_, sql)| *sql).collect()
}

impl Ledger {
    fn over(store: Arc<dyn Store>) -> Self {
        macro_rules! group {
            ($act:ident) => {{
                let store = Arc::clone(&store);
                Group::start(stringify!($act), move |items| {
                    let store = Arc::clone(&store);
                    Box::pin(async move { store.$act(&items).await })
                })
            }};
        }
        Self {
            admits: group!(admit),
            begins: group!(begin),
            conclusions: group!(conclude),
            records: group!(record),
            publications: group!(mark_published),
            time: Arc::default(),
            store,
        }
    }

    /// Brings the schema to this version's.
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        self.store.migrate().await
    }

    /// Asks whether it is there, fit for use and can be written; answers its clock.
    pub async fn check(&self) -> Result<Timestamp, LedgerError> {
        let asked = crate::domain::clock::boot();
        let theirs = self.store.check().await?;
        self.time.learn(theirs, asked, crate::domain::clock::boot());
        Ok(theirs)
    }

    /// What its clock says, from the last check on; this machine's own where there was none.
    pub fn now(&self) -> Timestamp {
        self.time.now(crate::domain::clock::boot()).unwrap_or_else(crate::domain::clock::now)
    }

    /// Takes a job in, with its first begin where a carrier is ready for it.
    pub async fn admit(&self, job: Admission) -> Result<Admitted, LedgerError> {
        self.admits.submit(job).await
    }

    /// Commits an attempt, before its request's first byte goes out.
    pub async fn begin(&self, attempt: Beginning) -> Result<Begun, LedgerError> {
        self.begins.submit(attempt).await
    }

    /// Writes an outcome with what follows, or a conclusion alone.
    pub async fn conclude(&self, deciding: DecisionWrite) -> Result<Concluded, LedgerError> {
        self.conclusions.submit(deciding).await
    }

    /// Records a receipt; without the carrier's own words, where it is these that cannot be kept.
    pub async fn record(&self, receipt: Recording) -> Result<Recorded, LedgerError> {
        match self.records.submit(receipt.clone()).await {
            Err(LedgerError::Data { .. }) if receipt.quotes() => {
                tracing::warn!(
                    carrier = receipt.carrier,
                    "a receipt's code or reference cannot be kept: it is recorded without"
                );
                self.records.submit(receipt.without_quotes()).await
            }
            answered => answered,
        }
    }

    /// Marks a dispatch: no further request of it begins.
    pub async fn stop(&self, marking: Marking) -> Result<Marked, LedgerError> {
        group::run_again(|| self.store.stop(&marking)).await
    }

    /// Asks for the next step of a dispatch.
    pub async fn advance(&self, advancing: Advancing) -> Result<Advanced, LedgerError> {
        group::run_again(|| self.store.advance(&advancing)).await
    }

    /// Takes one dispatch by name, if it is due.
    pub async fn take(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        group::run_again(|| self.store.take(uid)).await
    }

    /// Takes what is due: at most `fresh` that were never begun, then at most `begun` others.
    pub async fn take_due(&self, fresh: usize, begun: usize) -> Result<Vec<Dispatch>, LedgerError> {
        group::run_again(|| self.store.take_due(fresh, begun)).await
    }

    /// The whole story of a dispatch, by its sender's name for it.
    pub async fn find(&self, tenant: &str, id: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.store.find(tenant, id).await
    }

    /// The whole story of a dispatch, by our name for it.
    pub async fn read(&self, uid: Uuid) -> Result<Option<Dispatch>, LedgerError> {
        self.store.read(uid).await
    }

    /// Takes what is owed to the world and was not told within 5 s, the longest owed first.
    pub async fn pending_events(&self, most: usize) -> Result<Vec<PendingEvents>, LedgerError> {
        group::run_again(|| self.store.pending_events(most)).await
    }

    /// Removes what was told.
    pub async fn mark_published(&self, told: PublishedEvents) -> Result<(), LedgerError> {
        self.publications.submit(told).await
    }

    /// Takes a tenant's events that are due at its webhook, the longest due first, each for a lease of 30 s.
    pub async fn webhooks_due(&self, tenant: &str, most: usize) -> Result<Vec<WebhookDelivery>, LedgerError> {
        group::run_again(|| self.store.webhooks_due(tenant, most)).await
    }

    /// Writes what came of trying to tell an event to a webhook.
    pub async fn hook_fate(&self, uid: Uuid, version: i64, fate: DeliveryResult) -> Result<(), LedgerError> {
        group::run_again(|| self.store.hook_fate(uid, version, &fate)).await
    }

    /// A tenant's events that wait for its webhook or were given up, the newest first.
    pub async fn webhook_rows(&self, tenant: &str, most: usize) -> Result<Vec<WebhookRow>, LedgerError> {
        self.store.webhook_rows(tenant, most).await
    }

    /// Makes events that were given up due again: one, or all of a tenant. Answers how many.
    pub async fn replay_hooks(&self, tenant: &str, only: Option<(Uuid, i64)>) -> Result<u64, LedgerError> {
        group::run_again(|| self.store.replay_hooks(tenant, only)).await
    }

    /// Says that a worker is alive; answers how many are.
    pub async fn beat(&self, worker: &str) -> Result<usize, LedgerError> {
        self.store.beat(worker).await
    }

    /// Says that a worker is gone, so that the others may use its share of the pace.
    pub async fn retire(&self, worker: &str) -> Result<(), LedgerError> {
        self.store.retire(worker).await
    }

    /// Matches stray receipts again; drops those older than 72 h. Answers how many found their attempt.
    pub async fn match_strays(&self) -> Result<usize, LedgerError> {
        let mut found = 0;
        for stray in self.store.strays(200).await? {
            match self.record(stray.clone()).await {
                // It stays, and is in nobody's way.
                Ok(Recorded::Stray) | Err(LedgerError::Data { .. }) => {}
                recorded => {
                    recorded?;
                    self.store.forget_stray(&stray).await?;
                    found += 1;
                }
            }
        }
        Ok(found)
    }

    /// Deletes dispatches that are final and owe nothing, born before that time.
    pub async fn purge(&self, born_before: Timestamp, most: usize) -> Result<u64, LedgerError> {
        self.store.purge(born_before, most).await
    }

    /// Forgets numbers whose last admission lies outside every window that a rule can have.
    pub async fn purge_quotas(&self, most: usize) -> Result<u64, LedgerError> {
        self.store.purge_quotas(most).await
    }

    /// Keeps a new key of the HTTP doors.
    pub async fn add_key(&self, key: &KeyRow) -> Result<(), LedgerError> {
        self.store.add_key(key).await
    }

    /// All keys, the newest first; those that were revoked too.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError> {
        self.store.keys().await
    }

    /// Revokes a key; answers whether there was one that had not been revoked.
    pub async fn revoke_key(&self, id: &str) -> Result<bool, LedgerError> {
        self.store.revoke_key(id).await
    }

    /// A key that was not revoked, by its public part.
    pub async fn key(&self, id: &str) -> Result<Option<KeyRow>, LedgerError> {
        self.store.key(id).await
    }
}
