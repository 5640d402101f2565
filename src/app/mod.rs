//! Composition: from a configuration to a running process, and its orderly stop.
//!
//! Comes in: a configuration and the roles of this process. Goes out: connected parts and their tasks. Nothing here knows a rule of
//! delivery.

mod connections;
mod duties;
mod measuring;
mod observers;
mod ready;
mod reporting;
mod restrictions;
mod rules;
mod starting;
mod status;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::broker::{Broker, BrokerError, Nodes, Settings};
use crate::config::live::Live;
use crate::config::{BadConfig, Config};
use crate::delivery::wake::DispatchWaker;
use crate::delivery::worker::Worker;
use crate::http::Api;
use crate::ledger::health::LedgerHealth;
use crate::ledger::{self, Ledger};
use crate::ops::metrics::Metrics;
use crate::ops::traces::Tracer;
use crate::outbox::feed::Feed;
use crate::seal::Keys;
use observers::Observers;
use reporting::Reporter;
use restrictions::RestrictionFollower;
use rules::ActiveConfig;
pub use rules::Reloadable;
use starting::{Starting, check_ledger};
use status::StatusReader;
pub use status::seen_reports;

/// Capacity of the queue of wake-ups in this process. The scan finds dispatches whose wake-up does not fit.
const WAKE_QUEUE_CAPACITY: usize = 10_000;
/// Time after the grace period for the last acks, events and connection closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The roles of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Serves the HTTP API.
    pub api: bool,
    /// Consumes jobs from the broker and sends due dispatches.
    pub worker: bool,
    /// Serves carriers' callbacks.
    pub receipts: bool,
}

impl Roles {
    /// All roles in one process.
    pub const ALL: Self = Self { api: true, worker: true, receipts: true };
}

/// Start options.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The roles of the process.
    pub roles: Roles,
    /// Whether to migrate the ledger's schema first.
    pub migrate: bool,
    /// Whether to wait for an unreachable ledger or broker. Otherwise the start fails at once.
    pub wait: bool,
}

/// A running process.
pub struct App {
    /// The listen address of the HTTP API. `None` without that role.
    pub api: Option<SocketAddr>,
    /// The listen address for callbacks. `None` without that role.
    pub receipts: Option<SocketAddr>,
    /// The listen address for health and metrics.
    pub ops: SocketAddr,
    /// The ledger of this process.
    pub ledger: Ledger,
    rules: ActiveConfig,
    http_api: Option<Arc<Api>>,
    broker: Option<Broker>,
    worker: Option<Arc<Worker>>,
    worker_name: String,
    reporter: Arc<Reporter>,
    tracer: Option<Arc<Tracer>>,
    grace: Duration,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    stop_publishing: CancellationToken,
}

/// Starts a process: binds listeners, connects to ledger and broker, and spawns the tasks of the roles.
pub async fn start(mut config: Config, keys: Keys, options: Start) -> anyhow::Result<App> {
    let rules = ActiveConfig::new(Reloadable::new(&config, keys)?, config.clone());
    let listeners = Listeners::bind(&mut config, options.roles).await?;
    let listener_count = 1 + usize::from(options.roles.api) + usize::from(options.roles.receipts);
    let descriptors = connections::raise_descriptor_limit();
    let max_connections = connections::connections_per_listener(descriptors, listener_count);
    let metrics = Arc::new(Metrics::default());
    let ledger = open_ledger(&config)?;
    let worker_name = format!("{}-{}", std::process::id(), Uuid::now_v7());
    let observers = Observers::new(&config, &worker_name, &metrics)?;
    observers.observe(&ledger);
    let unreachable = check_ledger(&ledger, options).await?;
    let settings = broker_settings(&config)?;
    if let Some(settings) = settings.as_ref().filter(|_| !options.wait) {
        // With `wait`, the broker tasks keep retrying and log the reason each time it changes.
        Broker::declare(&settings.nodes, settings.declare).await.context("the broker is not usable")?;
    }
    let shutdown = CancellationToken::new();
    let broker = settings.map(|settings| Broker::start(settings, shutdown.child_token()));
    let (to_worker, woken) = mpsc::channel(WAKE_QUEUE_CAPACITY);
    let waker = DispatchWaker::new(options.roles.worker.then_some(to_worker), broker.clone());
    let ledger_health = Arc::new(LedgerHealth::new());
    let status = Arc::new(StatusReader::new(ledger.clone(), Arc::clone(&ledger_health)));
    let (ledger_ready, checks) = ready::ledger_ready(ledger.clone(), Arc::clone(&ledger_health));
    let mut starting = Starting {
        config,
        rules,
        metrics,
        ledger,
        ledger_health,
        broker,
        waker,
        feed: Feed::default(),
        status,
        tasks: TaskTracker::new(),
        shutdown,
        max_connections,
        // Separate from `shutdown`: events are published until the last attempt has ended.
        stop_publishing: CancellationToken::new(),
        ledger_ready,
        ready: Live::new(BTreeMap::new()),
    };
    starting.spawn_until_shutdown(checks);
    measuring::observe_ledger(&starting.metrics, &starting.ledger, Arc::clone(&starting.ledger_ready));
    if let Some(broker) = &starting.broker {
        let lengths = duties::queue_lengths(broker.queue_lengths(), Arc::clone(&starting.metrics));
        starting.spawn_until_shutdown(lengths);
        measuring::observe_broker(&starting.metrics, broker.clone());
    }
    let (health, checked) = (Arc::clone(&starting.ledger_health), starting.ledger.clone());
    starting.spawn_until_shutdown(async move { health.poll_until_recovered(&checked).await });
    let api = listeners.api.as_ref().and_then(|l| l.local_addr().ok());
    let receipts = listeners.receipts.as_ref().and_then(|l| l.local_addr().ok());
    let ops = listeners.ops.local_addr()?;
    let reporter = Arc::new(starting.reporter(&worker_name, options.roles, ops, &observers));
    starting.health(listeners.ops);
    let mut restrictions = RestrictionFollower::new(starting.ledger.clone(), starting.rules.rules.clone());
    if unreachable.is_none() {
        starting.read_restrictions(&mut restrictions, options).await?;
    }
    let http_api = listeners.api.map(|listener| starting.api(listener));
    if let Some(listener) = listeners.receipts {
        starting.receipts(listener);
    }
    if let Some(why) = unreachable {
        tracing::warn!(reason = why, "waiting for the ledger (use --no-wait to exit instead)");
        starting.wait_for_ledger(options).await?;
        starting.read_restrictions(&mut restrictions, options).await?;
    }
    starting.spawn_until_shutdown(restrictions.follow());
    let worker = options.roles.worker.then(|| starting.worker(&worker_name, woken));
    starting.spawn_until_shutdown(Arc::clone(&reporter).run());
    let Starting { config, rules, ledger, broker, tasks, shutdown, stop_publishing, .. } = starting;
    let grace = Duration::from_secs(config.worker.grace_s);
    Ok(App {
        api,
        receipts,
        ops,
        ledger,
        rules,
        http_api,
        broker,
        worker,
        worker_name,
        reporter,
        tracer: observers.tracer,
        grace,
        tasks,
        shutdown,
        stop_publishing,
    })
}

/// The listeners of a process. They are bound first, because binding fails most often.
struct Listeners {
    api: Option<TcpListener>,
    receipts: Option<TcpListener>,
    ops: TcpListener,
}

impl Listeners {
    async fn bind(config: &mut Config, roles: Roles) -> anyhow::Result<Self> {
        let api = if roles.api { Some(bind("api", config.api.listen).await?) } else { None };
        let receipts =
            if roles.receipts { Some(bind("receipts", config.receipts.listen).await?) } else { None };
        if let (Some(listener), Some(base)) = (&receipts, config.receipts.public_url.strip_suffix(":0")) {
            config.receipts.public_url = format!("{base}:{}", listener.local_addr()?.port());
        }
        Ok(Self { api, receipts, ops: bind("ops", config.ops.listen).await? })
    }
}

impl App {
    /// Applies another configuration without a restart. After an error nothing has changed. Returns the changed keys that need
    /// a restart.
    pub fn reload(&self, config: Config) -> Result<Vec<&'static str>, BadConfig> {
        let limits = config.limits.clone();
        let needs_restart = self.rules.replace(config)?;
        if let Some(http_api) = &self.http_api {
            http_api.limit(&limits);
        }
        Ok(needs_restart)
    }

    /// Stops taking new work, waits up to the grace period for requests in progress, and closes all connections.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if let Some(worker) = &self.worker {
            worker.tasks.close();
            if tokio::time::timeout(self.grace, worker.tasks.wait()).await.is_err() {
                let left = worker.tasks.len();
                tracing::warn!(
                    requests = left,
                    "some requests did not end within worker.grace_s; other workers take over"
                );
            }
            let _ =
                tokio::time::timeout(Duration::from_secs(2), self.ledger.remove_worker(&self.worker_name))
                    .await;
        }
        self.stop_publishing.cancel();
        self.tasks.close();
        let closing = async {
            self.tasks.wait().await;
            if let Some(broker) = self.broker {
                broker.close().await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closing).await;
        // Last, because listeners and consumers record facts until they have ended.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.reporter.stop()).await;
        if let Some(tracer) = self.tracer {
            let _ = tokio::task::spawn_blocking(move || tracer.stop()).await;
        }
    }
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let kind = e.kind();
        anyhow::anyhow!(
            "{what}.listen: cannot bind {address} ({kind}); stop the process that uses it, or choose another address"
        )
    })
}

fn open_ledger(config: &Config) -> anyhow::Result<Ledger> {
    let location: ledger::Location = config.ledger_url().parse()?;
    Ok(ledger::open(&location, &ledger_options(config))?)
}

/// The connection options of a configuration's ledger.
pub fn ledger_options(config: &Config) -> ledger::Options {
    let ca_file = config.ledger.ca_file.clone();
    ledger::Options { pool: config.ledger.pool, ca_file, ..ledger::Options::default() }
}

/// The nodes of a configuration's broker. `None` if it has no broker.
pub fn broker_nodes(config: &Config) -> Result<Option<Nodes>, BrokerError> {
    use secrecy::ExposeSecret;
    let Some(url) = &config.amqp.url else { return Ok(None) };
    Nodes::parse(url.expose_secret(), config.amqp.ca_file.as_deref()).map(Some)
}

fn broker_settings(config: &Config) -> Result<Option<Settings>, BrokerError> {
    Ok(broker_nodes(config)?.map(|nodes| Settings {
        nodes,
        declare: config.amqp.declare,
        linger: Duration::from_secs(config.worker.grace_s) + CLOSE_TIMEOUT,
        publish_timeout: Duration::from_secs(10),
        max_outstanding: 1024,
    }))
}
