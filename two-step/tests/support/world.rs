//! A store for one test, and direct access to its rows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;
use two_step::account::Account;
use two_step::config::{Config, ProductAppConfig, ProductConfig};
use two_step::flow::Core;
use two_step::seal::{Keys, Sealed};
use two_step::store::{OutboxKind, OutboxRow, Record, Store, Value};
use uuid::Uuid;

/// Connections to PostgreSQL, as in the default configuration.
pub const POOL_SIZE: usize = 16;
/// The only allowed return URL of the shop.
pub const RETURN_URL: &str = "https://shop.example/2fa";
/// Longer than every window of the default limits.
pub const ALL_LIMITS_FREE_S: u64 = 86_400 + 60;

/// The database of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    Sqlite,
}

/// A migrated store for one test, with the flows. Clones share it.
#[derive(Clone)]
pub struct World {
    pub core: Arc<Core>,
    pub backend: Backend,
    pub url: String,
    _place: Arc<Place>,
}

impl World {
    /// A store with one product, `shop`.
    pub async fn new(backend: Backend) -> Self {
        let world = Self::unmigrated(backend).await;
        world.core.store.migrate().await.unwrap();
        world
    }

    /// The same without its tables.
    pub async fn unmigrated(backend: Backend) -> Self {
        let (url, place) = match backend {
            Backend::Postgres => fresh_schema().await,
            Backend::Sqlite => fresh_folder(),
        };
        let core = Core::new(open_store(&url, POOL_SIZE), Keys::ephemeral(), Arc::new(config()));
        Self { core: Arc::new(core), backend, url, _place: Arc::new(place) }
    }

    /// The same store under another configuration.
    pub fn configured(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = (*self.core.config()).clone();
        change(&mut config);
        let core = Core::new(self.core.store.clone(), self.core.keys.clone(), Arc::new(config));
        Self { core: Arc::new(core), ..self.clone() }
    }

    /// The same rows from another process, whose clock is not advanced.
    pub fn second_process(&self) -> Self {
        let core = Core::new(open_store(&self.url, POOL_SIZE), self.core.keys.clone(), self.core.config());
        Self { core: Arc::new(core), ..self.clone() }
    }

    /// Opens all connections to PostgreSQL in advance, so that connecting does not delay a race.
    pub async fn connect_all(&self) {
        if self.backend == Backend::Postgres {
            let mut open = vec![];
            for _ in 0..POOL_SIZE {
                open.push(self.core.store.begin().await.unwrap());
            }
            for tx in open {
                tx.commit().await.unwrap();
            }
        }
    }

    /// Advances the clock.
    pub fn advance(&self, seconds: u64) {
        self.core.store.advance(Duration::from_secs(seconds));
    }

    /// Returns the store's time.
    pub async fn now(&self) -> Timestamp {
        let mut tx = self.core.store.begin().await.unwrap();
        let now = tx.now().await.unwrap();
        tx.commit().await.unwrap();
        now
    }

    /// Returns the rows that match a condition.
    pub async fn rows<R: Record>(&self, rest: &str, values: &[Value]) -> Vec<R> {
        let mut tx = self.core.store.begin().await.unwrap();
        let rows = tx.select::<R>(rest, values).await.unwrap();
        tx.commit().await.unwrap();
        rows
    }

    /// Returns the row with an id.
    pub async fn row<R: Record<Id = Uuid>>(&self, id: Uuid) -> R {
        let mut tx = self.core.store.begin().await.unwrap();
        let row = tx.get::<R>(id).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        row
    }

    /// Updates a row.
    pub async fn write<R: Record>(&self, row: &R) {
        let mut tx = self.core.store.begin().await.unwrap();
        tx.update(row).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Returns the result of a count query.
    pub async fn count(&self, sql: &str) -> i64 {
        let mut tx = self.core.store.begin().await.unwrap();
        let count = tx.query(sql, &[]).await.unwrap()[0].int(0);
        tx.commit().await.unwrap();
        count
    }

    /// Returns the events of a kind.
    pub async fn events(&self, kind: &str) -> usize {
        let of_kind = [Value::Text(kind.to_owned())];
        self.rows::<two_step::store::Event>("where kind = $1", &of_kind).await.len()
    }

    /// Returns the account of a user of the shop.
    pub async fn account(&self, user: &str) -> Account {
        let by_name = [Value::Text(user.to_owned())];
        self.rows("where user_ref = $1", &by_name).await.pop().unwrap()
    }

    /// Returns the opened outbox rows of a kind, oldest first.
    pub async fn outbox(&self, kind: OutboxKind) -> Vec<Json> {
        let of_kind = [Value::Text(kind.to_string())];
        let rows = self.rows::<OutboxRow>("where kind = $1 order by id", &of_kind).await;
        let open = |row: &OutboxRow| self.core.keys.open(Sealed::Outbox, row.id, &row.body_sealed).unwrap();
        rows.iter().map(|row| serde_json::from_slice(&open(row)).unwrap()).collect()
    }

    /// Returns the jobs of a challenge, oldest first.
    pub async fn jobs(&self, challenge: Uuid) -> Vec<Json> {
        let mut jobs = self.outbox(OutboxKind::Dispatch).await;
        jobs.retain(|job| job["tags"]["challenge"] == challenge.to_string());
        jobs
    }

    /// Returns the newest job of a challenge.
    pub async fn job(&self, challenge: Uuid) -> Json {
        self.jobs(challenge).await.pop().unwrap()
    }

    /// Returns the newest code of a challenge.
    pub async fn code(&self, challenge: Uuid) -> String {
        self.job(challenge).await["code"].as_str().unwrap().to_owned()
    }

    /// Returns the newest dispatch of a challenge, by its id at otpost.
    pub async fn dispatch(&self, challenge: Uuid) -> Uuid {
        id_of(&self.job(challenge).await)
    }
}

/// Returns the id of a job.
pub fn id_of(job: &Json) -> Uuid {
    job["id"].as_str().unwrap().parse().unwrap()
}

/// Opens a store by its URL.
pub fn open_store(url: &str, pool: usize) -> Store {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Store::open(url, pool).unwrap()
}

fn config() -> Config {
    let shop = ProductConfig {
        name: "Shop".to_owned(),
        return_urls: vec![RETURN_URL.to_owned()],
        countries: vec!["GB".to_owned(), "DE".to_owned()],
        app: Some(ProductAppConfig::default()),
        ..ProductConfig::default()
    };
    let mut config = Config::default();
    config.products.insert("shop".to_owned(), shop);
    config.check().unwrap();
    config
}

/// The location of a store. It is deleted after the test unless the test fails.
enum Place {
    Schema(String),
    Folder(PathBuf),
}

/// Creates a schema in the tests' database, and returns its URL.
async fn fresh_schema() -> (String, Place) {
    let url = database_url();
    let schema = format!("two_step_{}", Uuid::now_v7().simple());
    run(&format!("create schema {schema}")).await.expect("PostgreSQL answers");
    let joint = if url.contains('?') { '&' } else { '?' };
    // Without durability, so that tests do not wait for a slow disk.
    let options = format!("-csearch_path%3D{schema}%20-csynchronous_commit%3Doff");
    (format!("{url}{joint}options={options}"), Place::Schema(schema))
}

/// Creates a folder, and returns the URL of a database in it. In memory if possible, because a slow disk would slow the
/// tests.
fn fresh_folder() -> (String, Place) {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = base.join(format!("two-step-test-{}", Uuid::now_v7().simple()));
    std::fs::create_dir_all(&path).unwrap();
    (format!("sqlite:{}/two-step.db", path.display()), Place::Folder(path))
}

fn database_url() -> String {
    std::env::var("OTPOST_TEST_DATABASE_URL")
        .expect("OTPOST_TEST_DATABASE_URL is not set: run eval \"$(scripts/services env)\"")
}

async fn run(sql: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&database_url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(sql).await
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        match self {
            Self::Folder(path) => drop(std::fs::remove_dir_all(path)),
            Self::Schema(schema) => {
                let sql = format!("set lock_timeout = '2s'; drop schema {schema} cascade");
                // The test's runtime may be shutting down.
                let dropping = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    let _ = runtime.map(|r| r.block_on(run(&sql)));
                });
                let _ = dropping.join();
            }
        }
    }
}
