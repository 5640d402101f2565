//! Publishes the events of the transactional outbox at least once.
//!
//! A worker commits events with its decision, hands them to [`EventPublisher`], and continues. Publishing uses none of the
//! worker's permits. Unconfirmed events stay in the outbox, and a scan publishes them again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::broker::topology::header;
use crate::broker::{Broker, Exchange, Message};
use crate::config::live::Live;
use crate::domain::dispatch::Event;
use crate::ledger::{Ledger, PendingEvents, PublishedEvents};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use crate::outbox::cloud_event::{self, CloudEvent};
use crate::outbox::feed::Feed;
use crate::outbox::webhook::Webhooks;

/// Capacity of the queue in this process. Events that do not fit are published by the scan.
const QUEUE_CAPACITY: usize = 10_000;
/// Capacity of the buffer of events received from the broker. Above it the oldest are lost, and the feed reports their number.
const RECEIVED_CAPACITY: usize = 4096;
/// Number of dispatches whose events are published concurrently.
const MAX_CONCURRENT_DISPATCHES: usize = 256;
/// Interval of the scan for pending events.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// A scan takes rows of the outbox until they have this many dispatches. The last row may exceed it.
const MAX_DISPATCHES_PER_SCAN: usize = 200;

/// Accepts events for publishing. Clones share one queue.
#[derive(Clone)]
pub struct EventPublisher {
    /// The queue for the broker. Its events stay pending in their rows until they are confirmed.
    queue: Option<mpsc::Sender<PendingEvents>>,
    /// Gets the events directly when there is no broker. With a broker, [`forward_from_broker`] fills it.
    feed: Feed,
    webhooks: Live<Webhooks>,
}

impl EventPublisher {
    /// A publisher without a broker.
    pub fn new(feed: Feed, webhooks: Live<Webhooks>) -> Self {
        Self { queue: None, feed, webhooks }
    }

    /// Starts publishing to the broker, until shutdown.
    #[must_use]
    pub fn with_broker(
        self, ledger: Ledger, broker: Broker, metrics: Arc<Metrics>, shutdown: CancellationToken,
    ) -> Self {
        let (queue, pending) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(run(ledger, broker, metrics, pending, shutdown));
        Self { queue: Some(queue), ..self }
    }

    /// Queues events for publishing. Never waits: when the queue is full, the scan publishes the events.
    pub fn publish(&self, pending: PendingEvents) {
        if pending.events.is_empty() {
            return;
        }
        self.webhooks.current().notify(&pending.tenant);
        match &self.queue {
            Some(queue) => drop(queue.try_send(pending)),
            None => {
                for event in &pending.events {
                    self.feed.publish(CloudEvent::of(&pending, event));
                }
            }
        }
    }
}

/// Forwards the events of all processes from the broker to the live feed of this process.
pub fn forward_from_broker(broker: &Broker, feed: Feed) -> impl Future<Output = ()> + use<> {
    let (sender, mut events) = broadcast::channel(RECEIVED_CAPACITY);
    broker.listen(sender);
    let mut connections = broker.watch();
    feed.set_connected(connections.borrow_and_update().listening());
    async move {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    // Other messages on the exchange are ignored.
                    Ok(body) => drop(serde_json::from_slice(&body).map(|event| feed.publish(event))),
                    Err(RecvError::Lagged(count)) => feed.report_missed(count),
                    Err(RecvError::Closed) => return,
                },
                Ok(()) = connections.changed() => {
                    feed.set_connected(connections.borrow_and_update().listening());
                }
            }
        }
    }
}

async fn run(
    ledger: Ledger, broker: Broker, metrics: Arc<Metrics>, pending: mpsc::Receiver<PendingEvents>,
    shutdown: CancellationToken,
) {
    let fresh = futures_util::stream::unfold(pending, |mut pending| async move {
        pending.recv().await.map(|o| (o, pending))
    });
    let publishing = fresh.for_each_concurrent(MAX_CONCURRENT_DISPATCHES, |pending| async {
        publish_all(&ledger, &broker, &metrics, pending).await;
    });
    let scanning = async {
        let mut tick = tokio::time::interval(SCAN_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            while scan(&ledger, &broker, &metrics).await {}
        }
    };
    tokio::select! {
        () = publishing => {}
        () = scanning => {}
        () = shutdown.cancelled() => {}
    }
}

/// Publishes pending events. Returns true when more may be pending and publishing works, so that a backlog is published without
/// pauses.
async fn scan(ledger: &Ledger, broker: &Broker, metrics: &Metrics) -> bool {
    if !broker.watch().borrow().publishing_events() {
        return false;
    }
    // During an outage the worker logs the reason. The next scan runs in a second.
    let Ok(pending) = ledger.pending_events(MAX_DISPATCHES_PER_SCAN).await else { return false };
    let full = pending.len() >= MAX_DISPATCHES_PER_SCAN;
    let publishing = pending.into_iter().map(|pending| publish_all(ledger, broker, metrics, pending));
    let published = futures_util::stream::iter(publishing).buffer_unordered(MAX_CONCURRENT_DISPATCHES);
    let any = published.fold(false, async |any, one| any || one).await;
    full && any
}

/// Publishes the events of one dispatch in order, and removes them if all are confirmed. Returns whether they are.
async fn publish_all(ledger: &Ledger, broker: &Broker, metrics: &Metrics, pending: PendingEvents) -> bool {
    for event in &pending.events {
        if let Err(e) = broker.publish(message(&pending, event)).await {
            tracing::debug!(dispatch.uid = %pending.uid, reason = %e, "an event is not confirmed: it stays pending");
            return false;
        }
        metrics.events_published.inc();
        crash::at(Point::EventConfirmed);
    }
    // When this write fails, the events are published again with the same ids.
    let _ = ledger.mark_published(PublishedEvents::of(&pending)).await;
    crash::at(Point::EventRemoved);
    true
}

/// The AMQP message of an event: CloudEvents 1.0 in JSON.
fn message(pending: &PendingEvents, event: &Event) -> Message {
    let cloud = CloudEvent::of(pending, event);
    Message {
        exchange: Exchange::Events,
        routing_key: format!("dispatch.{}", event.state),
        body: cloud.to_json().into_bytes(),
        message_id: cloud.id,
        kind: "event",
        content_type: cloud_event::CONTENT_TYPE,
        headers: pending.traceparent.iter().map(|t| (header::TRACEPARENT.to_owned(), t.clone())).collect(),
        user_id: None,
        mandatory: false,
    }
}
