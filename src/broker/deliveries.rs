//! Incoming messages: the buffer of received deliveries, and the delivery that a worker holds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::types::AMQPValue;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::topology;

/// A queue that is consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumedQueue {
    /// `otpost.dispatch`
    Dispatch,
    /// `otpost.suspect`
    Suspect,
    /// `otpost.receipts`
    Receipts,
}

impl ConsumedQueue {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dispatch => topology::DISPATCH,
            Self::Suspect => topology::SUSPECT,
            Self::Receipts => topology::RECEIPTS,
        }
    }
}

/// A message from one of the queues, held until it is acknowledged.
///
/// A delivery that is dropped without an ack stays unacknowledged and uses one unit of the prefetch. RabbitMQ redelivers it when
/// the connection ends. Drop a delivery only if the message must be redelivered later. Dead-letter a message that cannot be
/// processed.
pub struct Delivery {
    /// The message body, unchanged.
    pub body: Vec<u8>,
    /// The routing key of the publish.
    pub routing_key: String,
    /// The AMQP property `message_id`.
    pub message_id: Option<String>,
    /// The AMQP property `user_id`, which RabbitMQ checks against the publisher's user.
    pub user_id: Option<String>,
    /// The header `traceparent`, unparsed.
    pub traceparent: Option<String>,
    /// How often RabbitMQ delivered the message before (`x-delivery-count`); 0 when the header is absent.
    pub delivery_count: u64,
    /// The AMQP flag `redelivered`.
    pub redelivered: bool,
    pub(super) tag: u64,
    /// Acks go to the channel of this delivery and to no other, because each channel numbers its tags from 1.
    pub(super) settled: mpsc::UnboundedSender<u64>,
}

impl Delivery {
    pub(super) fn new(message: lapin::message::Delivery, settled: mpsc::UnboundedSender<u64>) -> Self {
        let properties = &message.properties;
        let header =
            |name| properties.headers().as_ref().and_then(|table| table.inner().get::<str>(name).cloned());
        Self {
            routing_key: message.routing_key.into(),
            message_id: properties.message_id().as_ref().map(ToString::to_string),
            user_id: properties.user_id().as_ref().map(ToString::to_string),
            traceparent: header(topology::header::TRACEPARENT).and_then(text),
            delivery_count: header("x-delivery-count").and_then(|v| count(&v)).unwrap_or(0),
            redelivered: message.redelivered,
            body: message.data,
            tag: message.delivery_tag,
            settled,
        }
    }

    /// Whether the channel of this delivery is closed. Such a delivery cannot be acknowledged, and RabbitMQ redelivers it.
    pub fn will_be_redelivered(&self) -> bool {
        self.settled.is_closed()
    }

    /// Acknowledges the message. RabbitMQ redelivers it when the connection ends before the ack arrives.
    pub fn ack(self) {
        let _ = self.settled.send(self.tag);
    }
}

impl fmt::Debug for Delivery {
    /// Leaves out the body, which may hold a code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("routing_key", &self.routing_key)
            .field("body_bytes", &self.body.len())
            .field("delivery_count", &self.delivery_count)
            .finish_non_exhaustive()
    }
}

fn text(value: AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.into()),
        _ => None,
    }
}

fn count(value: &AMQPValue) -> Option<u64> {
    let signed = match *value {
        AMQPValue::ShortShortInt(n) => i64::from(n),
        AMQPValue::ShortShortUInt(n) => i64::from(n),
        AMQPValue::ShortInt(n) => i64::from(n),
        AMQPValue::ShortUInt(n) => i64::from(n),
        AMQPValue::LongInt(n) => i64::from(n),
        AMQPValue::LongUInt(n) => i64::from(n),
        AMQPValue::LongLongInt(n) => n,
        _ => return None,
    };
    u64::try_from(signed).ok()
}

/// Deliveries that are received and not yet taken by a worker. RabbitMQ sends no more than the prefetch.
#[derive(Default)]
pub(super) struct DeliveryBuffer {
    waiting: Mutex<VecDeque<Delivery>>,
    arrived: Notify,
}

impl DeliveryBuffer {
    pub(super) fn put(&self, delivery: Delivery) {
        self.waiting().push_back(delivery);
        self.arrived.notify_one();
    }

    /// Removes and returns all deliveries.
    pub(super) fn clear(&self) -> VecDeque<Delivery> {
        std::mem::take(&mut *self.waiting())
    }

    fn take(&self) -> Option<Delivery> {
        self.waiting().pop_front()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Delivery>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Source of deliveries for one worker.
pub struct Deliveries {
    pub(super) buffer: Arc<DeliveryBuffer>,
    pub(super) may_consume: watch::Receiver<bool>,
    pub(super) shutdown: CancellationToken,
}

impl Deliveries {
    /// Returns the next delivery, or `None` after shutdown. This method is cancel safe.
    ///
    /// It returns no delivery while consuming is paused. Deliveries received before the pause stay buffered and unacknowledged.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.shutdown.is_cancelled() {
                return None;
            }
            let may = *self.may_consume.borrow_and_update();
            if may && let Some(delivery) = self.buffer.take() {
                return Some(delivery);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = changed(&mut self.may_consume) => {}
                () = self.buffer.arrived.notified(), if may => {}
            }
        }
    }
}

/// Waits for a change. Waits for ever when the sender is dropped.
pub(super) async fn changed(may_consume: &mut watch::Receiver<bool>) {
    if may_consume.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
