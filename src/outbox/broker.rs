//! Events on the broker: published from the outbox, and received from all processes for the live stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::cloud_event::{self, CloudEvent};
use super::feed::Feed;
use super::sink::{Failure, Retry, Sink};
use crate::broker::topology::header;
use crate::broker::{Broker, Exchange, Message};
use crate::domain::dispatch::Event;
use crate::ledger::{PendingEvents, Receiver};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;

/// Capacity of the buffer of events received from the broker. Above it the oldest are lost, and the feed reports their number.
const RECEIVED_CAPACITY: usize = 4096;

/// Publishes events to the exchange `otpost.events`.
pub(super) struct BrokerSink {
    pub(super) broker: Broker,
    pub(super) metrics: Arc<Metrics>,
}

impl Sink for BrokerSink {
    const MAX_CONCURRENT: usize = 256;
    const SCAN_INTERVAL: Option<Duration> = Some(Duration::from_secs(1));

    fn receiver(&self) -> Receiver {
        Receiver::Broker
    }

    fn is_open(&self) -> bool {
        self.broker.watch().borrow().publishing_events()
    }

    async fn deliver(&self, pending: &PendingEvents) -> Result<(), Failure> {
        for (delivered, event) in pending.events.iter().enumerate() {
            if let Err(e) = self.broker.publish(message(pending, event)).await {
                tracing::debug!(
                    dispatch.uid = %pending.uid, dispatch.id = %pending.id, trace_id = pending.trace_id(), reason = %e,
                    "an event is not confirmed: it stays pending"
                );
                return Err(Failure { delivered, problem: e.to_string(), retry: None });
            }
            self.metrics.outbox.count_published();
            crash::at(Point::EventConfirmed);
        }
        Ok(())
    }

    fn retry(&self, _: u16) -> Retry {
        Retry::AtLeaseEnd
    }
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
        expiration: None,
        mandatory: false,
    }
}

/// Forwards the events of all processes from the broker to the live feed of this process.
pub fn forward_to_feed(broker: &Broker, feed: Feed) -> impl Future<Output = ()> + use<> {
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
