//! Gives the events of every commit of this process to their sinks.
//!
//! A worker commits events with its decision and continues. Delivering them uses none of the worker's permits. What a full queue does
//! not take stays in the outbox, and a scan delivers it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
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
/// Capacity of the queue of each sink: more than one group of the ledger.
const QUEUE_CAPACITY: usize = 256;
/// Delivered rows that no write has deleted are deleted at this interval.
const DELETE_INTERVAL: Duration = Duration::from_millis(50);
/// At this interval sinks that have panicked are started again.
const START_INTERVAL: Duration = Duration::from_secs(5);
/// How long a stop waits for the last deliveries. Another process repeats what is left.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// The configured receivers of events.
pub fn receivers(has_broker: bool, webhooks: &Webhooks) -> Vec<Receiver> {
    let of_tenants = webhooks.tenants().map(|tenant| Receiver::Webhook(tenant.to_owned()));
    has_broker.then_some(Receiver::Broker).into_iter().chain(of_tenants).collect()
}

/// The sinks of a process.
pub struct Publisher {
    ledger: Ledger,
    broker: Option<Broker>,
    feed: Feed,
    webhooks: Live<Webhooks>,
    metrics: Arc<Metrics>,
    committed: mpsc::Receiver<EventBatch>,
    /// The queue of each receiver that has a sink.
    queues: BTreeMap<Receiver, mpsc::Sender<EventBatch>>,
    running: JoinSet<()>,
}

impl Publisher {
    /// Prepares the sinks. The ledger keeps its events for [`Publisher::run`] from now on.
    pub fn new(
        ledger: Ledger, broker: Option<Broker>, feed: Feed, webhooks: Live<Webhooks>, metrics: Arc<Metrics>,
    ) -> Self {
        let (publisher, committed) = mpsc::channel(COMMITTED_CAPACITY);
        ledger.publish_to(publisher);
        let (queues, running) = (BTreeMap::new(), JoinSet::new());
        Self { ledger, broker, feed, webhooks, metrics, committed, queues, running }
    }

    /// Publishes until shutdown, and then what was committed before, as far as it is delivered within a second.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let deleting = tokio::spawn(delete_delivered(self.ledger.clone()));
        let mut changes = self.webhooks.changes();
        self.start_sinks();
        let mut tick = tokio::time::interval(START_INTERVAL);
        loop {
            tokio::select! {
                Some(batch) = self.committed.recv() => self.publish(batch),
                _ = changes.changed() => self.start_sinks(),
                _ = tick.tick() => self.start_sinks(),
                // A webhook was removed, or a sink has panicked.
                Some(_) = self.running.join_next() => {}
                () = shutdown.cancelled() => break,
            }
        }
        while let Ok(batch) = self.committed.try_recv() {
            self.publish(batch);
        }
        self.queues.clear();
        let _ = tokio::time::timeout(STOP_WAIT, async { while self.running.join_next().await.is_some() {} })
            .await;
        deleting.abort();
        // Rows that stay are delivered again.
        let _ = tokio::time::timeout(STOP_WAIT, self.ledger.delete_delivered()).await;
    }

    /// Gives a batch to its sink. A full queue is no loss: a scan finds what is stored, and the live stream reports what it has missed.
    fn publish(&self, batch: EventBatch) {
        let mut missed = self.ledger.take_missed();
        let rejected = match self.queues.get(&batch.receiver) {
            Some(queue) => queue.try_send(batch).err().map(TrySendError::into_inner),
            None => Some(batch),
        };
        if let Some(batch) = rejected.filter(|batch| batch.receiver == Receiver::LiveStream) {
            missed += batch.event_count();
        }
        if missed > 0 {
            self.feed.report_missed(missed);
        }
    }

    /// Starts a sink for each receiver that has none, and ends those of tenants without a webhook.
    fn start_sinks(&mut self) {
        let webhooks = self.webhooks.current();
        self.queues.retain(|receiver, queue| match receiver {
            Receiver::Webhook(tenant) => webhooks.url(tenant).is_some() && !queue.is_closed(),
            _ => !queue.is_closed(),
        });
        let feed = self.feed.clone();
        self.start(feed);
        if let Some(broker) = self.broker.clone() {
            self.start(BrokerSink { broker, metrics: Arc::clone(&self.metrics) });
        }
        for tenant in webhooks.tenants() {
            self.start(WebhookSink::new(tenant, self.webhooks.clone(), Arc::clone(&self.metrics)));
        }
    }

    /// Starts the deliveries of a sink, unless they are running. They end when its queue is dropped.
    fn start<S: Sink>(&mut self, sink: S) {
        if let Entry::Vacant(vacant) = self.queues.entry(sink.receiver()) {
            let (queue, batches) = mpsc::channel(QUEUE_CAPACITY);
            self.running.spawn(Delivery::new(sink, self.ledger.clone()).run(batches));
            vacant.insert(queue);
        }
    }
}

/// Deletes delivered rows that no write has deleted. It is a task of its own, because the ledger may be slow.
async fn delete_delivered(ledger: Ledger) {
    let mut tick = tokio::time::interval(DELETE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // After a failure the next tick tries again.
        let _ = ledger.delete_delivered().await;
    }
}
