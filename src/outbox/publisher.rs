//! Gives the events of every commit of this process to their sinks.
//!
//! A worker commits events with its decision and continues. Delivering them uses none of the worker's permits. What a full queue does
//! not take stays in the outbox, and a scan delivers it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::broker::BrokerSink;
use super::delivery::Delivery;
use super::feed::Feed;
use super::sink::Sink;
use super::webhook::{WebhookSink, Webhooks};
use crate::broker::Broker;
use crate::config::live::Live;
use crate::ledger::{EventBatch, Ledger, Receiver};
use crate::ops::metrics::Metrics;

/// Capacity of the queue of committed batches, which is emptied at once.
const COMMITTED_CAPACITY: usize = 1024;
/// Capacity of the queue of each sink.
const QUEUE_CAPACITY: usize = 64;
/// Delivered rows that no write has deleted are deleted at this interval.
const DELETE_INTERVAL: Duration = Duration::from_millis(50);

/// The sinks of a process.
pub struct Publisher {
    ledger: Ledger,
    webhooks: Live<Webhooks>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    feed: Feed,
    committed: mpsc::Receiver<EventBatch>,
    live_stream: mpsc::Sender<EventBatch>,
    broker: Option<mpsc::Sender<EventBatch>>,
    tenants: BTreeMap<String, mpsc::Sender<EventBatch>>,
    running: JoinSet<()>,
}

impl Publisher {
    /// Prepares the sinks. The ledger keeps its events for [`Publisher::run`] from now on.
    pub fn new(
        ledger: Ledger, broker: Option<Broker>, feed: Feed, webhooks: Live<Webhooks>, metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Self {
        let (publisher, committed) = mpsc::channel(COMMITTED_CAPACITY);
        ledger.publish_to(publisher);
        let mut running = JoinSet::new();
        let live_stream = start(&mut running, &ledger, &shutdown, feed.clone());
        let broker = broker.map(|broker| {
            let sink = BrokerSink { broker, metrics: Arc::clone(&metrics) };
            start(&mut running, &ledger, &shutdown, sink)
        });
        let tenants = BTreeMap::new();
        Self { ledger, webhooks, metrics, shutdown, feed, committed, live_stream, broker, tenants, running }
    }

    /// Publishes until shutdown.
    pub async fn run(mut self) {
        let mut changes = self.webhooks.changes();
        let mut tick = tokio::time::interval(DELETE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.serve_tenants();
        loop {
            tokio::select! {
                Some(batch) = self.committed.recv() => self.publish(batch),
                // After a failure the next tick tries again.
                _ = tick.tick() => drop(self.ledger.delete_delivered().await),
                _ = changes.changed() => self.serve_tenants(),
                () = self.shutdown.cancelled() => break,
            }
        }
        while self.running.join_next().await.is_some() {}
        let _ = self.ledger.delete_delivered().await;
    }

    fn publish(&self, batch: EventBatch) {
        match &batch.receiver {
            Receiver::LiveStream => {
                if let Err(full) = self.live_stream.try_send(batch) {
                    let missed =
                        full.into_inner().events.iter().map(|pending| pending.events.len() as u64).sum();
                    self.feed.report_missed(missed);
                }
            }
            Receiver::Broker => {
                if let Some(broker) = &self.broker {
                    let _ = broker.try_send(batch);
                }
            }
            Receiver::Webhook(tenant) => {
                if let Some(webhook) = self.tenants.get(tenant) {
                    let _ = webhook.try_send(batch);
                }
            }
        }
    }

    /// Starts a sink for each tenant that has a webhook now, and ends the others.
    fn serve_tenants(&mut self) {
        let webhooks = self.webhooks.current();
        self.tenants.retain(|tenant, _| webhooks.url(tenant).is_some());
        for tenant in webhooks.tenants() {
            if !self.tenants.contains_key(tenant) {
                let sink = WebhookSink::new(tenant, self.webhooks.clone(), Arc::clone(&self.metrics));
                let queue = start(&mut self.running, &self.ledger, &self.shutdown, sink);
                self.tenants.insert(tenant.to_owned(), queue);
            }
        }
    }
}

/// Starts the deliveries of a sink. They end when the queue is dropped.
fn start<S: Sink>(
    running: &mut JoinSet<()>, ledger: &Ledger, shutdown: &CancellationToken, sink: S,
) -> mpsc::Sender<EventBatch> {
    let (queue, batches) = mpsc::channel(QUEUE_CAPACITY);
    running.spawn(Delivery::new(sink, ledger.clone()).run(batches, shutdown.clone()));
    queue
}
