//! Puts the parts together: from a configuration to a running process, and back down.

mod duties;
mod ready;

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

use crate::admit::Admitter;
use crate::api::{self, Api};
use crate::broker::{Broker, Intake, Settings};
use crate::config::Config;
use crate::due;
use crate::ledger::{self, Ledger, LedgerError};
use crate::message::Templates;
use crate::metrics::Metrics;
use crate::ops::{Ops, Readiness};
use crate::receive::Receiver;
use crate::route::Routes;
use crate::seal::Keys;
use crate::tell::Teller;
use crate::wake::Waker;
use crate::worker::{Parts, Worker};

/// Wake-ups that wait in this process. What does not fit is found by the scan.
const WAKES: usize = 10_000;

/// What follows after the grace: the last acks, events and farewells.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Takes jobs over HTTP.
    pub api: bool,
    /// Takes jobs from the broker, and runs what is due.
    pub worker: bool,
    /// Takes carriers' callbacks.
    pub receipts: bool,
}

impl Roles {
    /// Everything in one process.
    pub const ALL: Self = Self { api: true, worker: true, receipts: true };
}

/// How a process starts.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// What it does.
    pub roles: Roles,
    /// Bring the schema to this version's first.
    pub migrate: bool,
    /// Wait for a ledger that is away; else give up at once.
    pub wait: bool,
}

/// A running process.
pub struct App {
    /// Where jobs are taken, if they are.
    pub api: Option<SocketAddr>,
    /// Where callbacks are taken, if they are.
    pub receipts: Option<SocketAddr>,
    /// Where operators ask.
    pub ops: SocketAddr,
    /// The memory.
    pub ledger: Ledger,
    broker: Option<Broker>,
    worker: Option<Arc<Worker>>,
    worker_name: String,
    grace: Duration,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    told_all: CancellationToken,
}

/// Starts a process.
pub async fn start(mut config: Config, keys: Keys, how: Start) -> anyhow::Result<App> {
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let roles = how.roles;
    let api_listener = if roles.api { Some(bind("api", config.api.listen).await?) } else { None };
    let receipts_listener =
        if roles.receipts { Some(bind("receipts", config.receipts.listen).await?) } else { None };
    let ops_listener = bind("ops", config.ops.listen).await?;
    if let (Some(listener), Some(base)) = (&receipts_listener, config.receipts.public_url.strip_suffix(":0"))
    {
        config.receipts.public_url = format!("{base}:{}", listener.local_addr()?.port());
    }

    let metrics = Arc::new(Metrics::default());
    let templates =
        Arc::new(Templates::load(config.messages.templates_dir.as_deref()).map_err(anyhow::Error::msg)?);
    let routes = Arc::new(Routes::new(&config)?);
    let ledger = open_ledger(&config, how).await?;

    let (to_worker, woken) = mpsc::channel(WAKES);
    let (may_consume, may) = tokio::sync::watch::channel(true);
    let (broker, intake) = match broker_settings(&config, roles) {
        Some(settings) => {
            let (broker, intake) = Broker::start(settings, may, shutdown.child_token());
            (Some(broker), intake)
        }
        None => (None, None),
    };
    // Telling goes on until what is under way has ended.
    let told_all = CancellationToken::new();
    let teller = match &broker {
        Some(broker) if roles.worker => {
            Teller::start(ledger.clone(), broker.clone(), Arc::clone(&metrics), told_all.clone())
        }
        _ => Teller::silent(),
    };
    let waker = Waker::new(roles.worker.then(|| to_worker.clone()), broker.clone());
    let admitter = Arc::new(Admitter::new(keys.clone(), config.clone(), templates, broker.is_some()));
    let worker_name = format!("{}-{}", std::process::id(), Uuid::now_v7());
    let mut roles_ready: BTreeMap<&'static str, Readiness> = BTreeMap::new();

    let worker = roles.worker.then(|| {
        Worker::new(Parts {
            ledger: ledger.clone(),
            admitter: Arc::clone(&admitter),
            routes: Arc::clone(&routes),
            keys: keys.clone(),
            public_url: config.receipts.public_url.clone(),
            teller,
            broker: broker.clone(),
            waker: waker.clone(),
            metrics: Arc::clone(&metrics),
            slots: config.worker.slots,
            shutdown: shutdown.clone(),
        })
    });
    if let Some(worker) = &worker {
        run_worker(worker, woken, intake, may_consume, &tasks, &shutdown);
        let beats = duties::heartbeats(
            ledger.clone(),
            worker_name.clone(),
            Arc::clone(&routes),
            Arc::clone(&metrics),
        );
        spawn_until(&tasks, &shutdown, beats);
        spawn_until(&tasks, &shutdown, duties::housekeeping(ledger.clone(), config.ledger.retention_days));
        roles_ready
            .insert("worker", ready::worker_ready(Arc::clone(worker), broker.clone(), Arc::clone(&metrics)));
    }
    let api = api_listener.as_ref().and_then(|l| l.local_addr().ok());
    let receipts = receipts_listener.as_ref().and_then(|l| l.local_addr().ok());
    if let Some(listener) = api_listener {
        let (waker, metrics) = (waker.clone(), Arc::clone(&metrics));
        let door = Api::new(ledger.clone(), Arc::clone(&admitter), waker, metrics, &config.limits);
        spawn_until(&tasks, &shutdown, Arc::clone(&door).sweep());
        serve(&tasks, &shutdown, listener, door.router());
        roles_ready.insert("api", ready::ledger_ready(&tasks, &shutdown, ledger.clone()));
    }
    if let Some(listener) = receipts_listener {
        let public_url = config.receipts.public_url.clone();
        let receiver = Receiver::new(ledger.clone(), routes, keys, public_url, waker, Arc::clone(&metrics));
        serve(&tasks, &shutdown, listener, api::receipts(Arc::new(receiver)));
        roles_ready.insert("receipts", ready::ledger_ready(&tasks, &shutdown, ledger.clone()));
    }
    let ops = ops_listener.local_addr()?;
    serve(
        &tasks,
        &shutdown,
        ops_listener,
        Ops { metrics, roles: roles_ready, token: config.ops.token.clone() }.router(),
    );
    let grace = Duration::from_secs(config.worker.grace_s);
    Ok(App { api, receipts, ops, ledger, broker, worker, worker_name, grace, tasks, shutdown, told_all })
}

impl App {
    /// Stops taking in, gives what is under way its grace, and ends.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if let Some(worker) = &self.worker {
            worker.tasks.close();
            if tokio::time::timeout(self.grace, worker.tasks.wait()).await.is_err() {
                let left = worker.tasks.len();
                tracing::warn!(
                    requests = left,
                    "not all requests ended in their grace: other workers see to them"
                );
            }
            let _ = tokio::time::timeout(Duration::from_secs(2), self.ledger.retire(&self.worker_name)).await;
        }
        self.told_all.cancel();
        self.tasks.close();
        let closing = async {
            self.tasks.wait().await;
            if let Some(broker) = self.broker {
                broker.close().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, closing).await;
    }
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let kind = e.kind();
        anyhow::anyhow!(
            "{what}.listen: {address} cannot be listened on ({kind}); stop what uses it, or choose another"
        )
    })
}

async fn open_ledger(config: &Config, how: Start) -> anyhow::Result<Ledger> {
    let location: ledger::Location = config.ledger_url().parse()?;
    let options = ledger::Options { pool: config.ledger.pool, ..ledger::Options::default() };
    let ledger = ledger::open(&location, options)?;
    let mut said = false;
    loop {
        let tried = async {
            if how.migrate {
                ledger.migrate().await?;
            }
            ledger.check().await
        };
        match tried.await {
            Ok(_) => return Ok(ledger),
            Err(LedgerError::Away(why)) if how.wait => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(reason = why, "waiting for the ledger (--no-wait gives up instead)");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(e) => return Err(e).context("the ledger is not usable"),
        }
    }
}

fn broker_settings(config: &Config, roles: Roles) -> Option<Settings> {
    use secrecy::ExposeSecret;
    let url = config.amqp.url.as_ref()?.expose_secret().to_owned();
    Some(Settings {
        url,
        declare: config.amqp.declare,
        prefetch: config.amqp.prefetch,
        consume: roles.worker,
        linger: Duration::from_secs(config.worker.grace_s) + FAREWELL,
        publish_timeout: Duration::from_secs(10),
        max_outstanding: 1024,
    })
}

fn run_worker(
    worker: &Arc<Worker>, woken: mpsc::Receiver<Uuid>, intake: Option<Intake>,
    may_consume: tokio::sync::watch::Sender<bool>, tasks: &TaskTracker, shutdown: &CancellationToken,
) {
    tasks.spawn(due::run(Arc::clone(worker), woken, shutdown.clone()));
    if let Some(intake) = intake {
        tasks.spawn(Arc::clone(worker).consume(intake));
    }
    let watched = Arc::clone(worker);
    spawn_until(tasks, shutdown, async move { watched.outage.watch_over(watched.ledger()).await });
    let mut answers = worker.outage.watch();
    spawn_until(tasks, shutdown, async move {
        while answers.changed().await.is_ok() {
            may_consume.send_replace(*answers.borrow());
        }
    });
}

fn spawn_until(
    tasks: &TaskTracker, shutdown: &CancellationToken, work: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    });
}

fn serve(tasks: &TaskTracker, shutdown: &CancellationToken, listener: TcpListener, router: axum::Router) {
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.cancelled().await });
        if served.await.is_err() {
            tracing::error!("a listener failed");
        }
    });
}
