//! Starts the tasks of each role.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::rules::InForce;
use super::{Start, duties, ready};
use crate::broker::{Broker, Lane};
use crate::config::Config;
use crate::config::live::Live;
use crate::delivery::scheduler;
use crate::delivery::wake::{ScheduledWake, Waker};
use crate::delivery::worker::{self, Worker};
use crate::http::{self, Api, ApiState};
use crate::ledger::health::{LedgerHealth, RETRY_EVERY};
use crate::ledger::{Ledger, LedgerError};
use crate::ops::metrics::Metrics;
use crate::ops::{Ops, Readiness};
use crate::outbox::feed::Feed;
use crate::outbox::publisher::{self, EventPublisher};
use crate::outbox::webhook;
use crate::receipts::{self, Receiver};

/// Prefetch of the queue of delivery receipts that arrived during an outage.
const KEPT: u16 = 64;

/// A starting process: the parts that all roles share.
pub(super) struct Starting {
    pub(super) config: Config,
    pub(super) rules: InForce,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ledger: Ledger,
    pub(super) broker: Option<Broker>,
    pub(super) waker: Waker,
    pub(super) feed: Feed,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    pub(super) told_all: CancellationToken,
    /// Readiness of the ledger, which every role depends on.
    pub(super) answers: Readiness,
    pub(super) ready: Live<BTreeMap<&'static str, Readiness>>,
}

impl Starting {
    /// Serves health and metrics, from the beginning of the start.
    pub(super) fn health(&self, listener: TcpListener) {
        let health = Ops {
            metrics: Arc::clone(&self.metrics),
            roles: self.ready.clone(),
            token: self.config.ops.token.clone(),
        };
        serve(&self.tasks, &self.shutdown, listener, health.router());
    }

    fn says(&self, role: &'static str, ready: Readiness) {
        let mut roles = BTreeMap::clone(&self.ready.now());
        roles.insert(role, ready);
        self.ready.replace(roles);
    }

    /// Waits until the ledger answers. The listeners are open meanwhile: the API answers 503, and receipts are published to the
    /// broker.
    pub(super) async fn wait_for_ledger(&self, how: Start) -> anyhow::Result<()> {
        if how.roles.worker {
            self.says("worker", Arc::new(|| Some("waits for the ledger".to_owned())));
        }
        loop {
            tokio::time::sleep(RETRY_EVERY).await;
            match look(&self.ledger, how).await {
                Ok(None) => {
                    tracing::info!("the ledger answers");
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Err(e) => {
                    self.shutdown.cancel();
                    return Err(e);
                }
            }
        }
    }

    /// Starts the worker: jobs from the broker, wake-ups, the scan for due dispatches, and publishing of events.
    pub(super) fn worker(&mut self, name: &str, woken: mpsc::Receiver<ScheduledWake>) -> Arc<Worker> {
        let (ledger, metrics) = (self.ledger.clone(), Arc::clone(&self.metrics));
        let publisher = EventPublisher::new(self.feed.clone(), self.rules.webhooks.clone());
        let publisher = match &self.broker {
            Some(broker) => publisher.by_broker(
                ledger.clone(),
                broker.clone(),
                Arc::clone(&metrics),
                self.told_all.clone(),
            ),
            None => publisher,
        };
        let worker = Worker::new(worker::WorkerDeps {
            ledger: ledger.clone(),
            rules: self.rules.rules.clone(),
            public_url: self.config.receipts.public_url.clone(),
            publisher,
            broker: self.broker.clone(),
            waker: self.waker.clone(),
            metrics: Arc::clone(&metrics),
            slots: self.config.worker.slots,
            shutdown: self.shutdown.clone(),
        });
        self.tasks.spawn(scheduler::run(Arc::clone(&worker), woken, self.shutdown.clone()));
        let may = self.while_it_answers(&worker.ledger_health);
        if let Some(broker) = &self.broker {
            let jobs = broker.consume(Lane::Dispatch, self.config.amqp.prefetch, may.clone());
            self.tasks.spawn(Arc::clone(&worker).consume(jobs));
            self.tasks.spawn(Arc::clone(&worker).consume_quarantine(broker.consume(Lane::Suspect, 1, may)));
        }
        let watched = Arc::clone(&worker);
        self.until_shutdown(async move { watched.ledger_health.watch_over(watched.ledger()).await });
        let rules = self.rules.rules.clone();
        self.until_shutdown(duties::heartbeats(ledger.clone(), name.to_owned(), rules, Arc::clone(&metrics)));
        self.until_shutdown(duties::housekeeping(ledger.clone(), self.config.ledger.retention_days));
        let answers = Arc::clone(&self.answers);
        let ready =
            ready::worker_ready(Arc::clone(&worker), answers, self.broker.clone(), Arc::clone(&metrics));
        let webhooks = self.rules.webhooks.clone();
        self.tasks.spawn(webhook::run(webhooks, ledger, metrics, self.shutdown.clone()));
        self.says("worker", ready);
        worker
    }

    /// Starts the HTTP API.
    pub(super) fn api(&mut self, listener: TcpListener) -> Arc<Api> {
        if let Some(broker) = &self.broker {
            self.tasks.spawn(publisher::forward_from_broker(broker, self.feed.clone()));
        }
        let parts = ApiState {
            ledger: self.ledger.clone(),
            rules: self.rules.rules.clone(),
            waker: self.waker.clone(),
            metrics: Arc::clone(&self.metrics),
            feed: self.feed.clone(),
            webhooks: self.rules.webhooks.clone(),
            shutdown: self.shutdown.clone(),
        };
        let door = Api::new(parts, &self.config.limits);
        self.until_shutdown(Arc::clone(&door).sweep());
        serve(&self.tasks, &self.shutdown, listener, door.router());
        self.says("api", Arc::clone(&self.answers));
        door
    }

    /// Starts the listener for carriers' callbacks. While the ledger is unreachable, receipts are published to the broker.
    pub(super) fn receipts(&mut self, listener: TcpListener) {
        let receiver = Arc::new(Receiver::new(receipts::ReceiptDeps {
            ledger: self.ledger.clone(),
            rules: self.rules.rules.clone(),
            public_url: self.config.receipts.public_url.clone(),
            waker: self.waker.clone(),
            broker: self.broker.clone(),
            metrics: Arc::clone(&self.metrics),
        }));
        serve(&self.tasks, &self.shutdown, listener, http::receipts(Arc::clone(&receiver)));
        let may = self.while_it_answers(&receiver.ledger_health);
        if let Some(broker) = &self.broker {
            self.tasks.spawn(Arc::clone(&receiver).consume(broker.consume(Lane::Receipts, KEPT, may)));
        }
        let (watched, ledger) = (receiver, self.ledger.clone());
        self.until_shutdown(async move { watched.ledger_health.watch_over(&ledger).await });
        self.says("receipts", Arc::clone(&self.answers));
    }

    /// A channel that is true while the ledger answers.
    fn while_it_answers(&self, outage: &LedgerHealth) -> watch::Receiver<bool> {
        let (may_consume, may) = watch::channel(true);
        let mut away = outage.watch();
        self.until_shutdown(async move {
            while away.changed().await.is_ok() {
                may_consume.send_replace(away.borrow().is_none());
            }
        });
        may
    }

    pub(super) fn until_shutdown(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

/// Checks the ledger, after migrating it if requested. Returns why it is unreachable, or `None`. An error means that waiting
/// does not help.
pub(super) async fn look(ledger: &Ledger, how: Start) -> anyhow::Result<Option<String>> {
    let tried = async {
        if how.migrate {
            ledger.migrate().await?;
        }
        ledger.check().await
    };
    match tried.await {
        Ok(_) => Ok(None),
        Err(LedgerError::Away(why)) if how.wait => Ok(Some(why)),
        Err(LedgerError::Unwritable(why)) if how.wait => Ok(Some(why.to_owned())),
        Err(e) => Err(e).context("the ledger is not usable"),
    }
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
