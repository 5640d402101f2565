//! The store: PostgreSQL, or one SQLite file. In: statements of one transaction. Out: rows. The store has no business
//! rules, and opens no sealed values.
//!
//! Each statement exists once, in SQL that both databases accept. The two drivers differ in connecting, binding parameters
//! and locking: PostgreSQL locks rows (`for update`), SQLite allows one writing transaction at a time.

mod migrate;
mod postgres;
mod record;
mod rows;
mod sqlite;
mod value;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

pub use record::Record;
pub use rows::{
    ApiKey, Counter, Dispatch, DispatchState, Event, Idempotent, NoticeToken, OutboxKind, OutboxRow, Session,
    SessionPurpose, SupportAction, SupportCase, SupportState,
};
pub use value::{Cell, Column, Row, Value};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is not of a supported database.
    #[error("{0}")]
    Url(String),
    /// No connection, or it broke. Whether a running commit succeeded is unknown.
    #[error("the database is unreachable: {0}")]
    Unreachable(String),
    /// A row with this key exists already.
    #[error("a row with this key exists")]
    Exists,
    /// The schema is missing or of another version.
    #[error("{0}")]
    Schema(String),
    /// The database refused a statement.
    #[error("the database refused a statement ({0})")]
    Refused(String),
    /// A row has a value that this version cannot read.
    #[error("a row of {table} cannot be read: column {column}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

/// A store. Clones are cheap and share their connections.
#[derive(Clone)]
pub struct Store {
    driver: Driver,
    /// Milliseconds that tests add to the database's clock.
    ahead_ms: Arc<AtomicI64>,
}

#[derive(Clone)]
enum Driver {
    Postgres(postgres::Postgres),
    Sqlite(sqlite::Sqlite),
}

impl Store {
    /// Opens a store by its URL: `postgres://…` or `sqlite:path`.
    pub fn open(url: &str, pool: usize) -> Result<Self, StoreError> {
        let driver = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Driver::Postgres(postgres::Postgres::open(url, pool)?)
        } else if let Some(path) = url.strip_prefix("sqlite:") {
            Driver::Sqlite(sqlite::Sqlite::open(path)?)
        } else {
            return Err(StoreError::Url("database.url must begin with postgres:// or sqlite:".to_owned()));
        };
        Ok(Self { driver, ahead_ms: Arc::default() })
    }

    /// Migrates the schema to the version of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        migrate::run(&self.driver).await
    }

    /// Checks the version of the schema.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        migrate::check(self).await
    }

    /// Begins a transaction. It is rolled back on drop.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let inner = match &self.driver {
            Driver::Postgres(d) => Inner::Postgres(Box::new(d.begin().await?)),
            Driver::Sqlite(d) => Inner::Sqlite(d.begin().await?),
        };
        Ok(Tx { inner, ahead_ms: self.ahead_ms.load(Ordering::Relaxed), wakes: vec![] })
    }

    /// Advances this store's clock beyond the database's, for tests.
    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }
}

/// A transaction.
pub struct Tx {
    inner: Inner,
    ahead_ms: i64,
    wakes: Vec<Arc<Notify>>,
}

enum Inner {
    Postgres(Box<postgres::PostgresTx>),
    Sqlite(sqlite::SqliteTx),
}

impl Tx {
    /// Returns the database's time. Call it after taking locks, because waiting for a lock takes time.
    pub async fn now(&mut self) -> Result<Timestamp, StoreError> {
        let millis = match &mut self.inner {
            Inner::Postgres(tx) => {
                let sql = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";
                tx.query(sql, &[]).await?.first().map_or(0, |row| row.int(0))
            }
            // SQLite runs in this process, so its clock is the machine's.
            Inner::Sqlite(_) => crate::clock::machine_now().as_millisecond(),
        };
        Ok(crate::clock::from_millis(millis + self.ahead_ms))
    }

    /// Runs a statement and returns its rows.
    pub async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        match &mut self.inner {
            Inner::Postgres(tx) => tx.query(sql, values).await,
            Inner::Sqlite(tx) => tx.query(sql, values),
        }
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        match &mut self.inner {
            Inner::Postgres(tx) => tx.execute(sql, values).await,
            Inner::Sqlite(tx) => tx.execute(sql, values),
        }
    }

    /// Commits the transaction.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.inner {
            Inner::Postgres(tx) => tx.commit().await?,
            Inner::Sqlite(tx) => tx.commit()?,
        }
        for waiting in self.wakes {
            waiting.notify_waiters();
        }
        Ok(())
    }

    /// Notifies a waiter after the commit.
    pub fn wake_after_commit(&mut self, waiting: &Arc<Notify>) {
        self.wakes.push(Arc::clone(waiting));
    }

    /// Inserts a row. Returns [`StoreError::Exists`] if a unique key is taken; the transaction cannot continue then.
    pub async fn insert<R: Record>(&mut self, row: &R) -> Result<(), StoreError> {
        self.execute(R::INSERT, &row.values()).await.map(drop)
    }

    /// Updates all columns of a row.
    pub async fn update<R: Record>(&mut self, row: &R) -> Result<(), StoreError> {
        self.execute(R::UPDATE, &row.values()).await.map(drop)
    }

    /// Deletes a row.
    pub async fn delete<R: Record>(&mut self, id: R::Id) -> Result<(), StoreError> {
        self.execute(R::DELETE, &[id.to_value()]).await.map(drop)
    }

    /// Returns the row with an id.
    pub async fn get<R: Record>(&mut self, id: R::Id) -> Result<Option<R>, StoreError> {
        let rows = self.query(R::GET, &[id.to_value()]).await?;
        rows.first().map(R::from_row).transpose()
    }

    /// Returns the row with an id, locked until the transaction ends. Locks are taken in the order account, challenge,
    /// session, method, counters.
    pub async fn lock<R: Record>(&mut self, id: R::Id) -> Result<Option<R>, StoreError> {
        let sql = match self.inner {
            Inner::Postgres(_) => R::LOCK,
            Inner::Sqlite(_) => R::GET,
        };
        let rows = self.query(sql, &[id.to_value()]).await?;
        rows.first().map(R::from_row).transpose()
    }

    /// Returns the rows that match. `rest` begins with `where`.
    pub async fn select<R: Record>(&mut self, rest: &str, values: &[Value]) -> Result<Vec<R>, StoreError> {
        let sql = format!("{} {rest}", R::SELECT);
        self.query(&sql, values).await?.iter().map(R::from_row).collect()
    }

    /// Returns the rows that match, locked until the transaction ends, in the order of `rest`.
    pub async fn select_locked<R: Record>(
        &mut self, rest: &str, values: &[Value],
    ) -> Result<Vec<R>, StoreError> {
        let lock = self.locks("for update");
        let sql = format!("{} {rest} {lock}", R::SELECT);
        self.query(&sql, values).await?.iter().map(R::from_row).collect()
    }

    /// Returns the first row that matches.
    pub async fn find<R: Record>(&mut self, rest: &str, values: &[Value]) -> Result<Option<R>, StoreError> {
        Ok(self.select::<R>(rest, values).await?.into_iter().next())
    }

    /// Returns a locking clause, or nothing for SQLite.
    pub fn locks(&self, clause: &'static str) -> &'static str {
        match self.inner {
            Inner::Postgres(_) => clause,
            Inner::Sqlite(_) => "",
        }
    }
}

/// Returns a new id that starts with the machine's time.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// Returns the time that an id starts with.
pub fn id_time(id: Uuid) -> Timestamp {
    let seconds = id.get_timestamp().map_or(0, |at| at.to_unix().0.cast_signed());
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// Returns a new id that starts with the database's time, for rows that are read in id order even if several processes
/// write them. The ids of one process increase, also within a millisecond.
pub fn new_id_at(now: Timestamp) -> Uuid {
    static CONTEXT: Mutex<uuid::ContextV7> = Mutex::new(uuid::ContextV7::new());
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(&CONTEXT, seconds, now.subsec_nanosecond().unsigned_abs()))
}
