//! Access to PostgreSQL: connections, statements with JSON rows, and the meaning of errors.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Json, ToSql};

use crate::ledger::{LedgerError, Options};

pub(in crate::ledger) struct Postgres {
    pool: Pool,
    /// Host and port for error texts, without user and password.
    address: String,
    /// Longer than the server's `statement_timeout`. A statement that exceeds it has lost its connection.
    timeout: Duration,
    /// A write was refused. Only a successful write clears it, because reads succeed on a full disk.
    write_refused: AtomicBool,
}

impl Postgres {
    pub(in crate::ledger) fn new(url: &str, options: &Options) -> Result<Self, LedgerError> {
        let mut config: tokio_postgres::Config = url.parse().map_err(|_| {
            LedgerError::Unusable(
                "ledger.url is not a PostgreSQL URL: postgres://user:password@host:port/database".into(),
            )
        })?;
        let limit = format!("-c statement_timeout={}", options.statement_timeout.as_millis());
        let given = config.get_options().map(|o| format!("{o} {limit}")).unwrap_or(limit);
        config
            .options(given)
            .application_name("otpost")
            .connect_timeout(Duration::from_secs(3))
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(30));
        let address = address(&config);
        let tls =
            rustls::ClientConfig::builder().with_root_certificates(root_certificates()).with_no_client_auth();
        let manager = Manager::from_config(
            config,
            tokio_postgres_rustls::MakeRustlsConnect::new(tls),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(options.pool)
            .wait_timeout(Some(Duration::from_secs(2)))
            .create_timeout(Some(Duration::from_secs(5)))
            .recycle_timeout(Some(Duration::from_secs(1)))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| LedgerError::Unusable("the connection pool cannot be built".to_owned()))?;
        let timeout = options.statement_timeout + Duration::from_secs(1);
        Ok(Self { pool, address, timeout, write_refused: AtomicBool::new(false) })
    }

    pub(super) async fn connection(&self) -> Result<Object, LedgerError> {
        self.pool.get().await.map_err(|e| match e {
            PoolError::Backend(e) if e.as_db_error().is_some() => ledger_error(&e),
            PoolError::Timeout(_) => {
                LedgerError::Unreachable(format!("no connection to {} in time", self.address))
            }
            _ => LedgerError::Unreachable(format!(
                "no connection to {}; check that PostgreSQL runs there, and check ledger.url",
                self.address
            )),
        })
    }

    /// Runs one statement whose rows are single JSON values.
    pub(super) async fn rows<T: for<'de> Deserialize<'de>>(
        &self, sql: &str, params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<T>, LedgerError> {
        let connection = self.connection().await?;
        let run = async {
            let statement = connection.prepare_cached(sql).await?;
            connection.query(&statement, params).await
        };
        match tokio::time::timeout(self.timeout, run).await {
            Ok(Ok(rows)) => rows
                .iter()
                .map(|row| {
                    row.try_get::<_, Json<T>>(0)
                        .map(|j| j.0)
                        .map_err(|_| LedgerError::Unusable(UNKNOWN_FORM.to_owned()))
                })
                .collect(),
            Ok(Err(e)) => {
                let e = ledger_error(&e);
                if matches!(e, LedgerError::Unwritable(_)) {
                    self.write_refused.store(true, Ordering::Relaxed);
                }
                Err(e)
            }
            Err(_) => {
                // The result of the statement is unknown, so the connection is not reused.
                drop(Object::take(connection));
                Err(LedgerError::Unreachable("no answer in time".to_owned()))
            }
        }
    }

    /// After a refused write: tries a write, and returns an error while it fails.
    pub(super) async fn check_writable(&self) -> Result<(), LedgerError> {
        if self.write_refused.load(Ordering::Relaxed) {
            self.rows::<bool>("select otpost_try_to_write()", &[]).await?;
            self.write_refused.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Runs a group's function and returns its answers in the order of the group.
    pub(super) async fn group<T: for<'de> Deserialize<'de>>(
        &self, function: &str, items: impl Iterator<Item = impl Serialize + Debug + Send + Sync>,
    ) -> Result<Vec<T>, LedgerError> {
        let items = Json(indexed(items));
        let count = items.0.len();
        let mut answers: Vec<Vec<Indexed<T>>> =
            self.rows(&format!("select {function}($1)"), &[&items]).await?;
        let mut answers = answers.pop().unwrap_or_default();
        if answers.len() != count {
            return Err(LedgerError::Unusable(UNKNOWN_FORM.to_owned()));
        }
        answers.sort_by_key(|p| p.ix);
        Ok(answers.into_iter().map(|p| p.answer).collect())
    }
}

pub(super) const UNKNOWN_FORM: &str =
    "the ledger's answer has an unknown form: its schema is of another version; run: otpost migrate";

fn address(config: &tokio_postgres::Config) -> String {
    let host = config.get_hosts().first().map_or("?".to_owned(), |host| match host {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    });
    format!("{host}:{}", config.get_ports().first().copied().unwrap_or(5432))
}

fn root_certificates() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Maps a database error. The server's message is dropped, because it quotes values.
pub(super) fn ledger_error(e: &tokio_postgres::Error) -> LedgerError {
    let Some(db) = e.as_db_error() else {
        return LedgerError::Unreachable(
            if e.is_closed() { "connection closed" } else { "connection lost" }.to_owned(),
        );
    };
    let state = db.code();
    if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(state) {
        return LedgerError::Conflict;
    }
    match *state {
        SqlState::DISK_FULL => {
            return LedgerError::Unwritable("the ledger's disk is full; free space on the PostgreSQL server");
        }
        SqlState::IO_ERROR => {
            return LedgerError::Unwritable(
                "the ledger's disk reports errors; see the PostgreSQL server's log",
            );
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            return LedgerError::Unwritable(
                "the ledger is read-only; check that ledger.url does not name a standby, and check default_transaction_read_only",
            );
        }
        _ => {}
    }
    match &state.code()[..2] {
        "22" | "23" => LedgerError::Data {
            sqlstate: state.code().to_owned(),
            constraint: db.constraint().map(str::to_owned),
        },
        "42" | "3F" => LedgerError::Unusable(format!(
            "the ledger has no schema of this version (SQLSTATE {}); run: otpost migrate",
            state.code()
        )),
        "28" | "3D" => LedgerError::Unusable(format!(
            "PostgreSQL rejects the login (SQLSTATE {}); check user, password and database in ledger.url",
            state.code()
        )),
        _ => LedgerError::Unreachable(format!("SQLSTATE {}", state.code())),
    }
}

#[derive(Deserialize)]
struct Indexed<T> {
    ix: usize,
    #[serde(flatten)]
    answer: T,
}

/// An item of a group, with its index.
#[derive(Debug, Serialize)]
pub(super) struct IndexedItem<T> {
    ix: usize,
    #[serde(flatten)]
    item: T,
}

pub(super) fn indexed<T>(items: impl Iterator<Item = T>) -> Vec<IndexedItem<T>> {
    items.enumerate().map(|(ix, item)| IndexedItem { ix, item }).collect()
}
