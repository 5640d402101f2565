//! A ledger for one test, on either database, with a clock that the test can set.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use otpost::domain::clock::Clock;
use otpost::ledger::{Ledger, Location, Options, open};
use uuid::Uuid;

/// The database of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    Sqlite,
}

/// A fresh ledger, with direct access to its database.
pub struct World {
    pub ledger: Ledger,
    pub url: String,
    clock: TestClock,
    /// Time zero of the test.
    pub t0: Timestamp,
    _files: Option<TempDir>,
}

enum TestClock {
    Postgres(tokio_postgres::Client),
    Sqlite(Arc<Mutex<Timestamp>>),
    System,
}

/// Returns the URL of the tests' database. Panics if it is not set.
pub fn database_url() -> String {
    std::env::var("OTPOST_TEST_DATABASE_URL").expect("OTPOST_TEST_DATABASE_URL is not set: run scripts/test")
}

/// Connects to the tests' database, to read behind the ledger.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

/// The URL of a fresh schema in the tests' database.
pub async fn fresh_schema() -> String {
    fresh_schema_at(&database_url()).await
}

/// The URL of a fresh schema in this database.
pub async fn fresh_schema_at(url: &str) -> String {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let schema = format!("t_{}", Uuid::now_v7().simple());
    connect(url).await.batch_execute(&format!("create schema {schema}")).await.unwrap();
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options=-csearch_path%3D{schema}")
}

/// The URL of the same schema, in which the schema's own functions come before PostgreSQL's. A function `clock_timestamp` of the schema
/// then replaces the server's clock.
pub fn replaced_clock(url: &str) -> String {
    format!("{url},pg_catalog")
}

impl World {
    /// A migrated ledger whose clock stands still until the test sets it.
    pub async fn with_test_clock(backend: Backend) -> Self {
        let t0: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        match backend {
            Backend::Postgres => {
                let url = replaced_clock(&fresh_schema().await);
                let client = connect(&url).await;
                client
                    .batch_execute(&format!(
                        "create table held (at timestamptz); insert into held values ('{t0}');
                         create function clock_timestamp() returns timestamptz language sql volatile
                         as $$ select at from held $$"
                    ))
                    .await
                    .unwrap();
                let ledger = ledger_at(&url, Clock::System);
                ledger.migrate().await.unwrap();
                Self { ledger, url, clock: TestClock::Postgres(client), t0, _files: None }
            }
            Backend::Sqlite => {
                let files = TempDir::new();
                let time = Arc::new(Mutex::new(t0));
                let url = format!("sqlite:{}/ledger.db", files.0.display());
                let ledger = ledger_at(&url, Clock::Held(Arc::clone(&time)));
                ledger.migrate().await.unwrap();
                Self { ledger, url, clock: TestClock::Sqlite(time), t0, _files: Some(files) }
            }
        }
    }

    /// A migrated ledger on the machine's clock.
    pub async fn with_system_clock(backend: Backend) -> Self {
        let (url, files) = match backend {
            Backend::Postgres => (fresh_schema().await, None),
            Backend::Sqlite => {
                let files = TempDir::new();
                (format!("sqlite:{}/ledger.db", files.0.display()), Some(files))
            }
        };
        let ledger = ledger_at(&url, Clock::System);
        ledger.migrate().await.unwrap();
        Self { ledger, url, clock: TestClock::System, t0: otpost::domain::clock::now(), _files: files }
    }

    /// Another connection to the same ledger.
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        Self { ledger, ..self }
    }

    /// Asserts that a dispatch with a wake-up is in a timer that is due no later (PostgreSQL only).
    pub async fn assert_timer(&self, uid: Uuid) {
        let TestClock::Postgres(client) = &self.clock else { return };
        let sql = "select d.uid from dispatch d where d.uid = $1 and d.wake_at is not null and not exists (
                     select from timer t where d.uid = any(t.uids) and t.due_at <= d.wake_at)";
        let without: Vec<Uuid> =
            client.query(sql, &[&uid]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert!(without.is_empty(), "no timer wakes {without:?}");
    }

    /// Sets the ledger's clock, in seconds after time zero.
    pub async fn at(&self, seconds: f64) {
        let at = self.time(seconds);
        match &self.clock {
            TestClock::Postgres(client) => {
                client.batch_execute(&format!("update held set at = '{at}'")).await.unwrap();
            }
            TestClock::Sqlite(time) => *time.lock().unwrap() = at,
            TestClock::System => panic!("this ledger uses the machine's clock"),
        }
    }

    /// A time in seconds after time zero.
    pub fn time(&self, seconds: f64) -> Timestamp {
        let micros = Duration::from_secs_f64(seconds).as_micros();
        Timestamp::from_microsecond(self.t0.as_microsecond() + i64::try_from(micros).unwrap()).unwrap()
    }

    /// Seconds after time zero.
    pub fn seconds(&self, t: Timestamp) -> f64 {
        (t.as_microsecond() - self.t0.as_microsecond()) as f64 / 1e6
    }
}

/// Opens another connection to a ledger, like another process.
pub fn ledger_at(url: &str, clock: Clock) -> Ledger {
    let location: Location = url.parse().unwrap();
    open(&location, &Options { clock, ..Options::default() }).unwrap()
}

/// A folder that is deleted with the test.
pub struct TempDir(pub std::path::PathBuf);

impl TempDir {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("otpost-test-{}", Uuid::now_v7().simple()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
