//! Starts the tasks of each role.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::observers::Observers;
use super::reporting::Reporter;
use super::restrictions::RestrictionFollower;
use super::rules::ActiveConfig;
use super::status::StatusReader;
use super::{Roles, Start, connections, duties, measuring, ready};
use crate::broker::{Broker, ConsumedQueue};
use crate::config::Config;
use crate::config::live::Live;
use crate::delivery::scheduler;
use crate::delivery::wake::{DispatchWaker, WakeRequest};
use crate::delivery::worker::{self, Worker};
use crate::http::{self, Api, ApiState};
use crate::ledger::health::{LedgerHealth, RETRY_INTERVAL};
use crate::ledger::{Ledger, LedgerError};
use crate::ops::metrics::Metrics;
use crate::ops::{Ops, Readiness};
use crate::outbox::broker;
use crate::outbox::feed::Feed;
use crate::outbox::publisher::{self, Publisher};
use crate::receipts::{self, Receiver};

/// Prefetch of the queue of delivery receipts that arrived during an outage.
const RECEIPTS_PREFETCH: u16 = 64;
/// Prefetch of the queue of messages that RabbitMQ has dead-lettered.
const RETURNED_PREFETCH: u16 = 16;

/// A starting process: the parts that all roles share.
pub(super) struct Starting {
    pub(super) config: Config,
    pub(super) rules: ActiveConfig,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ledger: Ledger,
    pub(super) ledger_health: Arc<LedgerHealth>,
    pub(super) broker: Option<Broker>,
    pub(super) waker: DispatchWaker,
    pub(super) feed: Feed,
    pub(super) status: Arc<StatusReader>,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    /// Of each listener.
    pub(super) max_connections: usize,
    pub(super) stop_publishing: CancellationToken,
    /// Readiness of the ledger, which every role depends on.
    pub(super) ledger_ready: Readiness,
    pub(super) ready: Live<BTreeMap<&'static str, Readiness>>,
}

impl Starting {
    /// Serves health and metrics, from the beginning of the start.
    pub(super) fn health(&self, listener: TcpListener) {
        let health = Ops::new(
            Arc::clone(&self.metrics),
            self.ready.clone(),
            self.config.ops.token.clone(),
            Arc::clone(&self.status) as _,
            self.shutdown.clone(),
        );
        self.serve(listener, health.router());
    }

    fn serve(&self, listener: TcpListener, router: axum::Router) {
        let (tasks, shutdown) = (self.tasks.clone(), self.shutdown.clone());
        self.tasks.spawn(connections::serve(listener, router, self.max_connections, tasks, shutdown));
    }

    fn set_readiness(&self, role: &'static str, ready: Readiness) {
        let mut roles = BTreeMap::clone(&self.ready.current());
        roles.insert(role, ready);
        self.ready.replace(roles);
    }

    /// Waits until the ledger answers. The listeners are open meanwhile: the API answers 503, and receipts are published to the
    /// broker.
    pub(super) async fn wait_for_ledger(&self, options: Start) -> anyhow::Result<()> {
        if options.roles.worker {
            self.set_readiness("worker", Arc::new(|| Some("waits for the ledger".to_owned())));
        }
        loop {
            tokio::time::sleep(RETRY_INTERVAL).await;
            match check_ledger(&self.ledger, options).await {
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

    /// Reads what operators have restricted, before this process sends or admits anything.
    pub(super) async fn read_restrictions(
        &self, restrictions: &mut RestrictionFollower, options: Start,
    ) -> anyhow::Result<()> {
        loop {
            match restrictions.read().await {
                Err(e) if options.wait && e.is_temporary() => tokio::time::sleep(RETRY_INTERVAL).await,
                read => return read.context("the pauses and blocks of operators cannot be read"),
            }
        }
    }

    /// What reports on this process.
    pub(super) fn reporter(
        &self, name: &str, roles: Roles, ops: SocketAddr, observers: &Observers,
    ) -> Reporter {
        Reporter {
            name: name.to_owned(),
            ops,
            started_at: crate::domain::clock::now(),
            roles,
            ledger: self.ledger.clone(),
            broker: self.broker.clone(),
            rules: self.rules.rules.clone(),
            metrics: Arc::clone(&self.metrics),
            counter: Arc::clone(&observers.counter),
            failures: Arc::clone(&observers.failures),
        }
    }

    /// Starts the worker: jobs from the broker, wake-ups, the scan for due dispatches, and publishing of events.
    pub(super) fn worker(&mut self, name: &str, woken: mpsc::Receiver<WakeRequest>) -> Arc<Worker> {
        measuring::observe_routes(&self.metrics, self.rules.rules.clone());
        let (ledger, metrics) = (self.ledger.clone(), Arc::clone(&self.metrics));
        let publisher = Publisher::new(
            ledger.clone(),
            self.broker.clone(),
            self.feed.clone(),
            self.rules.webhooks.clone(),
            Arc::clone(&metrics),
        );
        self.tasks.spawn(publisher.run(self.stop_publishing.clone()));
        let worker = Worker::new(worker::WorkerDeps {
            ledger: ledger.clone(),
            ledger_health: Arc::clone(&self.ledger_health),
            rules: self.rules.rules.clone(),
            public_url: self.config.receipts.public_url.clone(),
            broker: self.broker.clone(),
            waker: self.waker.clone(),
            metrics: Arc::clone(&metrics),
            permits: self.config.worker.slots,
            shutdown: self.shutdown.clone(),
        });
        self.tasks.spawn(scheduler::run(Arc::clone(&worker), woken, self.shutdown.clone()));
        let may = self.while_ledger_answers();
        if let Some(broker) = &self.broker {
            let jobs = broker.consume(ConsumedQueue::Dispatch, self.config.amqp.prefetch, may.clone());
            self.tasks.spawn(Arc::clone(&worker).consume(jobs));
            self.tasks.spawn(Arc::clone(&worker).consume_quarantine(broker.consume(
                ConsumedQueue::Suspect,
                1,
                may,
            )));
            // They are only moved, which needs no ledger.
            let (_, always) = watch::channel(true);
            self.tasks.spawn(Arc::clone(&worker).consume_returned(broker.consume(
                ConsumedQueue::Returned,
                RETURNED_PREFETCH,
                always,
            )));
        }
        let rules = self.rules.rules.clone();
        self.spawn_until_shutdown(duties::heartbeats(
            ledger.clone(),
            name.to_owned(),
            rules,
            Arc::clone(&metrics),
        ));
        let retention_days = self.config.ledger.retention_days;
        let (has_broker, webhooks) = (self.broker.is_some(), self.rules.webhooks.clone());
        let receivers = move || publisher::receivers(has_broker, &webhooks.current());
        self.spawn_until_shutdown(duties::housekeeping(
            ledger,
            name.to_owned(),
            retention_days,
            receivers,
            Arc::clone(&metrics),
        ));
        let ledger_ready = Arc::clone(&self.ledger_ready);
        let ready = ready::worker_ready(ledger_ready, self.broker.clone(), Arc::clone(&metrics));
        self.set_readiness("worker", ready);
        worker
    }

    /// Starts the HTTP API.
    pub(super) fn api(&mut self, listener: TcpListener) -> Arc<Api> {
        if let Some(broker) = &self.broker {
            self.tasks.spawn(broker::forward_to_feed(broker, self.feed.clone()));
        }
        let state = ApiState {
            ledger: self.ledger.clone(),
            rules: self.rules.rules.clone(),
            waker: self.waker.clone(),
            metrics: Arc::clone(&self.metrics),
            feed: self.feed.clone(),
            webhooks: self.rules.webhooks.clone(),
            status: Arc::clone(&self.status) as _,
            shutdown: self.shutdown.clone(),
        };
        let http_api = Api::new(state, &self.config.limits);
        measuring::observe_api(&self.metrics, &http_api);
        self.spawn_until_shutdown(Arc::clone(&http_api).sweep());
        self.serve(listener, http_api.router());
        self.set_readiness("api", Arc::clone(&self.ledger_ready));
        http_api
    }

    /// Starts the listener for carriers' callbacks. While the ledger is unreachable, receipts are published to the broker.
    pub(super) fn receipts(&mut self, listener: TcpListener) {
        let receiver = Arc::new(Receiver::new(receipts::ReceiptDeps {
            ledger: self.ledger.clone(),
            ledger_health: Arc::clone(&self.ledger_health),
            rules: self.rules.rules.clone(),
            public_url: self.config.receipts.public_url.clone(),
            waker: self.waker.clone(),
            broker: self.broker.clone(),
            metrics: Arc::clone(&self.metrics),
        }));
        self.serve(listener, http::callback_routes(Arc::clone(&receiver)));
        let may = self.while_ledger_answers();
        if let Some(broker) = &self.broker {
            self.tasks.spawn(receiver.consume(broker.consume(
                ConsumedQueue::Receipts,
                RECEIPTS_PREFETCH,
                may,
            )));
        }
        self.set_readiness("receipts", Arc::clone(&self.ledger_ready));
    }

    /// A watch channel whose value is true while the ledger answers.
    fn while_ledger_answers(&self) -> watch::Receiver<bool> {
        let mut outage = self.ledger_health.watch();
        let (may_consume, may) = watch::channel(outage.borrow_and_update().is_none());
        self.spawn_until_shutdown(async move {
            while outage.changed().await.is_ok() {
                may_consume.send_replace(outage.borrow().is_none());
            }
        });
        may
    }

    pub(super) fn spawn_until_shutdown(&self, work: impl Future<Output = ()> + Send + 'static) {
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
pub(super) async fn check_ledger(ledger: &Ledger, options: Start) -> anyhow::Result<Option<String>> {
    let tried = async {
        if options.migrate {
            ledger.migrate().await?;
        }
        ledger.check().await
    };
    match tried.await {
        Ok(_) => Ok(None),
        Err(LedgerError::Unreachable(why)) if options.wait => Ok(Some(why)),
        Err(LedgerError::Unwritable(why)) if options.wait => Ok(Some(why.to_owned())),
        Err(e @ (LedgerError::TooSlow(_) | LedgerError::NoConnection)) if options.wait => {
            Ok(Some(e.to_string()))
        }
        Err(e) => Err(e).context("the ledger is not usable"),
    }
}
