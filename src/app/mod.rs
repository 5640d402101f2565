//! Puts the parts together: from a configuration to a running process, and back down.

mod duties;
mod ready;
mod rules;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::api::{self, Api, Parts};
use crate::broker::{Broker, Lane, Settings};
use crate::config::{BadConfig, Config};
use crate::due;
use crate::feed::Feed;
use crate::ledger::{self, Ledger, LedgerError};
use crate::metrics::Metrics;
use crate::ops::{Ops, Readiness};
use crate::outage::Outage;
use crate::receive::{self, Receiver};
use crate::seal::Keys;
use crate::tell::{self, Teller};
use crate::wake::Waker;
use crate::webhook;
use crate::worker::{self, Worker};
use rules::InForce;
pub use rules::Rules;

/// Wake-ups that wait in this process. What does not fit is found by the scan.
const WAKES: usize = 10_000;

/// Kept receipts that are recorded at once.
const KEPT: u16 = 64;
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
    rules: InForce,
    door: Option<Arc<Api>>,
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
    let rules = InForce::new(Rules::new(&config, keys)?, config.clone());
    let doors = Doors::bind(&mut config, how.roles).await?;
    let metrics = Arc::new(Metrics::default());
    let ledger = open_ledger(&config, how).await?;
    let shutdown = CancellationToken::new();
    let broker = broker_settings(&config).map(|settings| Broker::start(settings, shutdown.child_token()));
    let (to_worker, woken) = mpsc::channel(WAKES);
    let waker = Waker::new(how.roles.worker.then_some(to_worker), broker.clone());
    let mut starting = Starting {
        config,
        rules,
        metrics,
        ledger,
        broker,
        waker,
        feed: Feed::default(),
        tasks: TaskTracker::new(),
        shutdown,
        // Telling goes on until what is under way has ended.
        told_all: CancellationToken::new(),
        ready: BTreeMap::new(),
    };
    let worker_name = format!("{}-{}", std::process::id(), Uuid::now_v7());
    let worker = how.roles.worker.then(|| starting.worker(&worker_name, woken));
    let api = doors.api.as_ref().and_then(|l| l.local_addr().ok());
    let receipts = doors.receipts.as_ref().and_then(|l| l.local_addr().ok());
    let ops = doors.ops.local_addr()?;
    let door = doors.api.map(|listener| starting.api(listener));
    if let Some(listener) = doors.receipts {
        starting.receipts(listener);
    }
    let Starting { config, rules, metrics, ledger, broker, tasks, shutdown, told_all, ready, .. } = starting;
    let health = Ops { metrics, roles: ready, token: config.ops.token.clone() };
    serve(&tasks, &shutdown, doors.ops, health.router());
    let grace = Duration::from_secs(config.worker.grace_s);
    Ok(App {
        api,
        receipts,
        ops,
        ledger,
        rules,
        door,
        broker,
        worker,
        worker_name,
        grace,
        tasks,
        shutdown,
        told_all,
    })
}

/// The listeners of a process: bound first, because that is what fails most.
struct Doors {
    api: Option<TcpListener>,
    receipts: Option<TcpListener>,
    ops: TcpListener,
}

impl Doors {
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

/// A process that is being put together: what all roles share.
struct Starting {
    config: Config,
    rules: InForce,
    metrics: Arc<Metrics>,
    ledger: Ledger,
    broker: Option<Broker>,
    waker: Waker,
    feed: Feed,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    told_all: CancellationToken,
    ready: BTreeMap<&'static str, Readiness>,
}

impl Starting {
    /// Runs dispatches: from the broker, from wake-ups, from the due scan; tells what they owe.
    fn worker(&mut self, name: &str, woken: mpsc::Receiver<Uuid>) -> Arc<Worker> {
        let (ledger, metrics) = (self.ledger.clone(), Arc::clone(&self.metrics));
        let teller = Teller::new(self.feed.clone(), self.rules.webhooks.clone());
        let teller = match &self.broker {
            Some(broker) => {
                teller.by_broker(ledger.clone(), broker.clone(), Arc::clone(&metrics), self.told_all.clone())
            }
            None => teller,
        };
        let worker = Worker::new(worker::Parts {
            ledger: ledger.clone(),
            admitter: self.rules.admitter.clone(),
            routes: self.rules.routes.clone(),
            keys: self.rules.keys.clone(),
            public_url: self.config.receipts.public_url.clone(),
            teller,
            broker: self.broker.clone(),
            waker: self.waker.clone(),
            metrics: Arc::clone(&metrics),
            slots: self.config.worker.slots,
            shutdown: self.shutdown.clone(),
        });
        self.tasks.spawn(due::run(Arc::clone(&worker), woken, self.shutdown.clone()));
        let may = self.while_it_answers(&worker.outage);
        if let Some(broker) = &self.broker {
            let jobs = broker.consume(Lane::Dispatch, self.config.amqp.prefetch, may.clone());
            self.tasks.spawn(Arc::clone(&worker).consume(jobs));
            self.tasks.spawn(Arc::clone(&worker).consume_suspects(broker.consume(Lane::Suspect, 1, may)));
        }
        let watched = Arc::clone(&worker);
        self.until_shutdown(async move { watched.outage.watch_over(watched.ledger()).await });
        let routes = self.rules.routes.clone();
        self.until_shutdown(duties::heartbeats(
            ledger.clone(),
            name.to_owned(),
            routes,
            Arc::clone(&metrics),
        ));
        self.until_shutdown(duties::housekeeping(ledger.clone(), self.config.ledger.retention_days));
        let ready = ready::worker_ready(Arc::clone(&worker), self.broker.clone(), Arc::clone(&metrics));
        let webhooks = self.rules.webhooks.clone();
        self.tasks.spawn(webhook::run(webhooks, ledger, metrics, self.shutdown.clone()));
        self.ready.insert("worker", ready);
        worker
    }

    /// Takes jobs and acts over HTTP, and shows what became of them.
    fn api(&mut self, listener: TcpListener) -> Arc<Api> {
        if let Some(broker) = &self.broker {
            self.tasks.spawn(tell::hear(broker, self.feed.clone()));
        }
        let parts = Parts {
            ledger: self.ledger.clone(),
            admitter: self.rules.admitter.clone(),
            waker: self.waker.clone(),
            metrics: Arc::clone(&self.metrics),
            feed: self.feed.clone(),
            webhooks: self.rules.webhooks.clone(),
            shutdown: self.shutdown.clone(),
        };
        let door = Api::new(parts, &self.config.limits);
        self.until_shutdown(Arc::clone(&door).sweep());
        serve(&self.tasks, &self.shutdown, listener, door.router());
        let ready = ready::ledger_ready(&self.tasks, &self.shutdown, self.ledger.clone());
        self.ready.insert("api", ready);
        door
    }

    /// Takes carriers' callbacks; while the ledger is away, the broker keeps them.
    fn receipts(&mut self, listener: TcpListener) {
        let receiver = Arc::new(Receiver::new(receive::Parts {
            ledger: self.ledger.clone(),
            routes: self.rules.routes.clone(),
            keys: self.rules.keys.clone(),
            public_url: self.config.receipts.public_url.clone(),
            waker: self.waker.clone(),
            broker: self.broker.clone(),
            metrics: Arc::clone(&self.metrics),
        }));
        serve(&self.tasks, &self.shutdown, listener, api::receipts(Arc::clone(&receiver)));
        let may = self.while_it_answers(&receiver.outage);
        if let Some(broker) = &self.broker {
            self.tasks.spawn(Arc::clone(&receiver).consume(broker.consume(Lane::Receipts, KEPT, may)));
        }
        let (watched, ledger) = (receiver, self.ledger.clone());
        self.until_shutdown(async move { watched.outage.watch_over(&ledger).await });
        let ready = ready::ledger_ready(&self.tasks, &self.shutdown, self.ledger.clone());
        self.ready.insert("receipts", ready);
    }

    /// True while the ledger answers.
    fn while_it_answers(&self, outage: &Outage) -> watch::Receiver<bool> {
        let (may_consume, may) = watch::channel(true);
        let mut answers = outage.watch();
        self.until_shutdown(async move {
            while answers.changed().await.is_ok() {
                may_consume.send_replace(*answers.borrow());
            }
        });
        may
    }

    fn until_shutdown(&self, work: impl Future<Output = ()> + Send + 'static) {
        spawn_until(&self.tasks, &self.shutdown, work);
    }
}

impl App {
    /// Puts another configuration in force while everything goes on, or changes nothing. Answers which of its keys differ
    /// and hold at the next start only.
    pub fn reload(&self, config: Config) -> Result<Vec<&'static str>, BadConfig> {
        let limits = config.limits.clone();
        let later = self.rules.replace(config)?;
        if let Some(door) = &self.door {
            door.limit(&limits);
        }
        Ok(later)
    }

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

fn broker_settings(config: &Config) -> Option<Settings> {
    use secrecy::ExposeSecret;
    let url = config.amqp.url.as_ref()?.expose_secret().to_owned();
    Some(Settings {
        url,
        declare: config.amqp.declare,
        linger: Duration::from_secs(config.worker.grace_s) + FAREWELL,
        publish_timeout: Duration::from_secs(10),
        max_outstanding: 1024,
    })
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
