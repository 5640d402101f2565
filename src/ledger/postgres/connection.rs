//! Connections to PostgreSQL: the pool, single statements, and transactions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, HookError, Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, RecyclingMethod,
    Runtime, TimeoutType,
};
use futures_util::FutureExt;
use futures_util::future::{try_join, try_join_all};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio_postgres::types::Json;
use tokio_postgres::{Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::columns::Param;
use super::error::{INCOMPLETE_ANSWER, connect_error, ledger_error, no_connection, settings_error};
use super::purge::PurgeStart;
use super::scan_start::ScanStarts;
use super::server::Server;
use crate::ledger::measures::PoolState;
use crate::ledger::outgoing::Outgoing;
use crate::ledger::{LedgerError, Options};

/// The name of the program for the server.
pub(super) const APPLICATION: &str = "otpost";

/// Settings of each connection. Left alone, the planner chooses other plans for fresh tables than for analysed ones, and they cost four
/// times as much. A transaction whose process is frozen ends by itself, because others wait for its locks.
const SETTINGS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("idle_in_transaction_session_timeout", "2000"),
];

/// Time limit for TLS and the login of a new connection, beside the `connect_timeout` of each host.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit of the connection that tells a slow server from one that is away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The ledger in PostgreSQL.
pub(in crate::ledger) struct Postgres {
    pool: Pool,
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// Host and port for error texts, without user and password.
    address: String,
    /// Time limit for opening a connection, for all hosts together.
    connect_timeout: Duration,
    /// Time limit of a round trip, longer than the server's `statement_timeout`. After it the result is unknown.
    timeout: Duration,
    /// A write was refused. Only a successful trial write clears it, because reads succeed on a full disk.
    write_refused: AtomicBool,
    /// Set after one check: connections keep their server process, and the user has all rights on all tables.
    pub(super) is_suitable: OnceCell<()>,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) scan_starts: ScanStarts,
    pub(super) purge_start: PurgeStart,
}

impl Postgres {
    pub(in crate::ledger) fn new(
        url: &str, options: &Options, outgoing: Arc<Outgoing>,
    ) -> Result<Self, LedgerError> {
        let server = Server::parse(url, APPLICATION)
            .map_err(|why| LedgerError::Unusable(format!("ledger.url {why}")))?;
        let tls = server.tls(options.ca_file.as_ref()).map_err(LedgerError::Unusable)?;
        let address = address(&server.config);
        let each_host = server.config.get_connect_timeout().copied().unwrap_or_default();
        let hosts = server.config.get_hosts().len().max(server.config.get_hostaddrs().len());
        let create_timeout = each_host * u32::try_from(hosts).unwrap_or(1) + LOGIN_TIMEOUT;
        let statement_timeout = options.statement_timeout.as_millis().to_string();
        let own = [SETTINGS, &[("statement_timeout", statement_timeout.as_str())]].concat();
        let settings = server.settings_hook(&own);
        let config = server.config;
        let manager = Manager::from_config(
            config.clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(options.pool)
            // The connection that was used last: its process has its plans and pages in the processor's cache.
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(Duration::from_secs(2)))
            .create_timeout(Some(create_timeout))
            .recycle_timeout(Some(Duration::from_secs(1)))
            .post_create(settings)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| LedgerError::Unusable("the connection pool cannot be built".to_owned()))?;
        let timeout = options.statement_timeout + Duration::from_secs(1);
        let (write_refused, is_suitable) = (AtomicBool::new(false), OnceCell::new());
        let scan_starts = ScanStarts::default();
        Ok(Self {
            pool,
            config,
            tls,
            address,
            connect_timeout: create_timeout,
            timeout,
            write_refused,
            is_suitable,
            outgoing,
            scan_starts,
            purge_start: PurgeStart::default(),
        })
    }

    /// A connection of the pool, for statements and transactions.
    pub(super) async fn connect(&self) -> Result<Connection<'_>, LedgerError> {
        let object = self.object().await?;
        Ok(Connection { store: self, object: Some(object), in_doubt: AtomicBool::new(false) })
    }

    /// The connections of the pool.
    pub(super) fn pool_state(&self) -> PoolState {
        let status = self.pool.status();
        let in_use = status.size.saturating_sub(status.available);
        PoolState { max: status.max_size, idle: status.available, in_use, waiting: status.waiting }
    }

    /// A connection of its own, without the settings. The task drives it until it is dropped.
    pub(super) async fn connect_alone(&self) -> Result<tokio_postgres::Client, LedgerError> {
        let failed = |e| connect_error(&e, &self.address);
        let connecting = tokio::time::timeout(self.connect_timeout, self.config.connect(self.tls.clone()));
        let connected = connecting.await.map_err(|_| self.no_connection_in_time())?;
        let (client, connection) = connected.map_err(failed)?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(super) fn no_connection_in_time(&self) -> LedgerError {
        LedgerError::Unreachable(format!("no connection to {} in time", self.address))
    }

    /// Time limit for a few small statements on two new connections.
    pub(super) fn checks_timeout(&self) -> Duration {
        2 * self.connect_timeout + self.timeout
    }

    /// Whether the server accepts a new connection.
    async fn answers(&self) -> bool {
        let connecting = self.config.connect(self.tls.clone());
        tokio::time::timeout(PROBE_TIMEOUT, connecting).await.is_ok_and(|connected| connected.is_ok())
    }

    /// Closes the connections that nobody uses. After a lost connection they may lead to the same dead server.
    fn close_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    pub(super) async fn object(&self) -> Result<Object, LedgerError> {
        self.pool.get().await.map_err(|e| match e {
            PoolError::Backend(e) => connect_error(&e, &self.address),
            PoolError::PostCreateHook(HookError::Backend(e)) => {
                settings_error(&e).unwrap_or_else(|| connect_error(&e, &self.address))
            }
            PoolError::Timeout(TimeoutType::Wait) => LedgerError::NoConnection,
            PoolError::Timeout(_) => self.no_connection_in_time(),
            _ => no_connection(&self.address),
        })
    }

    /// Runs one statement.
    pub(super) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, LedgerError> {
        let connection = self.connect().await?;
        let statement = connection.prepare(sql).await?;
        connection.statement(connection.client().query(&statement, params)).await
    }

    /// Runs one statement, and returns the number of its rows.
    pub(super) async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, LedgerError> {
        let connection = self.connect().await?;
        let statement = connection.prepare(sql).await?;
        connection.statement(connection.client().execute(&statement, params)).await
    }

    /// Runs one statement whose rows are single JSON values.
    pub(super) async fn json<T: for<'de> Deserialize<'de>>(
        &self, sql: &str, params: &[Param<'_>],
    ) -> Result<Vec<T>, LedgerError> {
        let rows = self.query(sql, params).await?;
        let read = |row: &Row| row.try_get::<_, Json<T>>(0).map(|json| json.0);
        rows.iter().map(|row| read(row).map_err(|_| LedgerError::UnknownForm)).collect()
    }

    /// The same, but a value that this version cannot read is logged, and the others go on.
    pub(super) async fn readable_json<T: for<'de> Deserialize<'de>>(
        &self, sql: &str, params: &[Param<'_>],
    ) -> Result<Vec<T>, LedgerError> {
        let read = |row: &Row| {
            let json = row.try_get::<_, Json<T>>(0).ok();
            if json.is_none() {
                tracing::error!(reason = %LedgerError::UnknownForm, "a kept receipt cannot be read");
            }
            Some(json?.0)
        };
        Ok(self.query(sql, params).await?.iter().filter_map(read).collect())
    }

    /// After a refused write: writes as much as a large group, to pages that the disk must find anew, and deletes it again. Returns an
    /// error while the disk refuses it.
    pub(super) async fn check_writable(&self) -> Result<(), LedgerError> {
        if self.write_refused.load(Ordering::Relaxed) {
            let sql = "delete from trial; insert into trial select repeat('-', 7000) from generate_series(1, 40); delete from trial";
            let connection = self.connect().await?;
            connection.statement(connection.client().batch_execute(sql)).await?;
            self.write_refused.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A connection. If the result of a statement is unknown, or a transaction is open, it is closed when it is dropped: for example when
/// its caller stops waiting.
pub(super) struct Connection<'p> {
    store: &'p Postgres,
    object: Option<Object>,
    in_doubt: AtomicBool,
}

impl Connection<'_> {
    pub(super) fn client(&self) -> &ClientWrapper {
        self.object.as_ref().expect("it is taken only on drop")
    }

    /// A statement with its parameters, prepared once for each connection.
    pub(super) async fn step<'a>(&self, sql: &str, params: Vec<Param<'a>>) -> Result<Step<'a>, LedgerError> {
        Ok(Step { statement: self.prepare(sql).await?, params })
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, LedgerError> {
        let prepared = tokio::time::timeout(self.store.timeout, self.client().prepare_cached(sql)).await;
        prepared
            .map_err(|_| {
                self.in_doubt.store(true, Ordering::Relaxed);
                timed_out()
            })?
            .map_err(|e| ledger_error(&e))
    }

    /// Runs a statement outside a transaction.
    pub(super) async fn statement<T>(
        &self, work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, LedgerError> {
        let done = self.round_trip(work).await;
        if done.is_ok() {
            self.in_doubt.store(false, Ordering::Relaxed);
        }
        done
    }

    /// Begins a transaction and runs its first statements, in one round trip. Returns the rows of each.
    pub(super) async fn begin_with(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, LedgerError> {
        let begin = self.client().batch_execute("begin");
        let (_begun, rows) = self.round_trip(try_join(begin, self.pipelined(steps))).await?;
        Ok(rows)
    }

    /// Runs further statements of a transaction that stays open, in one round trip.
    pub(super) async fn go_on_with(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, LedgerError> {
        self.round_trip(self.pipelined(steps)).await
    }

    /// Runs the last statements of a transaction and commits it, in one round trip. After a failed statement PostgreSQL answers a
    /// commit with success and rolls back, so the statements' results count. `act` names the transaction in the server's log.
    pub(super) async fn commit_with(
        &self, steps: &[Step<'_>], act: &str,
    ) -> Result<Vec<Vec<Row>>, LedgerError> {
        let commit = format!("commit -- {act}");
        let commit = self.client().batch_execute(&commit);
        let (rows, _committed) = self.round_trip(try_join(self.pipelined(steps), commit)).await?;
        self.in_doubt.store(false, Ordering::Relaxed);
        Ok(rows)
    }

    /// Ends a transaction that has changed nothing.
    pub(super) async fn roll_back(&self) -> Result<(), LedgerError> {
        self.statement(self.client().batch_execute("rollback")).await
    }

    /// Sends the statements one behind the other, without waiting for their answers in between. The driver sends a statement when it is
    /// first polled, and `try_join` polls in order: so `begin` goes before them, and `commit` after them.
    async fn pipelined(&self, steps: &[Step<'_>]) -> Result<Vec<Vec<Row>>, tokio_postgres::Error> {
        let sent = steps.iter().map(|step| self.client().query(&step.statement, &step.params).boxed());
        try_join_all(sent).await
    }

    /// Runs the statements of one round trip, which share one time limit. An error ends their transaction.
    async fn round_trip<T>(
        &self, work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, LedgerError> {
        self.in_doubt.store(true, Ordering::Relaxed);
        match tokio::time::timeout(self.store.timeout, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(e)) => {
                let error = ledger_error(&e);
                if matches!(error, LedgerError::Unwritable(_)) {
                    self.store.write_refused.store(true, Ordering::Relaxed);
                }
                // A server that refuses writes may be a standby now. A new connection asks all hosts for the primary again.
                if matches!(error, LedgerError::Unwritable(_) | LedgerError::Unreachable(_)) {
                    self.store.close_idle();
                    return Err(error);
                }
                let rollback = self.client().batch_execute("rollback");
                if let Ok(Ok(())) = tokio::time::timeout(self.store.timeout, rollback).await {
                    self.in_doubt.store(false, Ordering::Relaxed);
                }
                Err(error)
            }
            Err(_) => {
                self.store.close_idle();
                // The server's own limit for a statement is shorter, but several statements may each stay below it.
                if self.store.answers().await {
                    return Err(LedgerError::TooSlow("several statements together reached the time limit"));
                }
                Err(timed_out())
            }
        }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        if self.in_doubt.load(Ordering::Relaxed) {
            drop(self.object.take().map(Object::take));
        }
    }
}

/// A prepared statement with its parameters.
pub(super) struct Step<'a> {
    statement: Statement,
    params: Vec<Param<'a>>,
}

/// The rows of each statement of a round trip.
pub(super) fn answers<const N: usize>(rows: Vec<Vec<Row>>) -> Result<[Vec<Row>; N], LedgerError> {
    rows.try_into().map_err(|_| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))
}

/// Reads the server's clock.
pub(super) const CLOCK: &str = "select clock_timestamp()";

/// Reads the row of [`CLOCK`].
pub(super) fn read_clock(rows: &[Row]) -> Result<Timestamp, LedgerError> {
    rows.first().map(|row| row.get(0)).ok_or_else(|| LedgerError::Unusable(INCOMPLETE_ANSWER.to_owned()))
}

fn timed_out() -> LedgerError {
    LedgerError::Unreachable("no answer in time".to_owned())
}

fn address(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let port = |i: usize| ports.get(i).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(i, host)| match host {
        tokio_postgres::config::Host::Tcp(name) => format!("{name}:{}", port(i)),
        tokio_postgres::config::Host::Unix(path) => format!("{}:{}", path.display(), port(i)),
    });
    let mut places: Vec<String> = hosts.collect();
    if places.is_empty() {
        let addresses = config.get_hostaddrs().iter().enumerate();
        places = addresses.map(|(i, ip)| SocketAddr::new(*ip, port(i)).to_string()).collect();
    }
    places.join(", ")
}
