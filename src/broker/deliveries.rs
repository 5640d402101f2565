//! Incoming messages: the buffer of received deliveries, and the delivery that a worker holds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::acks::{Settlement, Verb};
use super::topology;

/// A queue that is consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumedQueue {
    /// `otpost.dispatch`
    Dispatch,
    /// `otpost.suspect`
    Suspect,
    /// `otpost.returned`
    Returned,
    /// `otpost.receipts`
    Receipts,
}

impl ConsumedQueue {
    /// The name of the queue.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatch => topology::DISPATCH,
            Self::Suspect => topology::SUSPECT,
            Self::Returned => topology::RETURNED,
            Self::Receipts => topology::RECEIPTS,
        }
    }
}

/// Why RabbitMQ has dead-lettered a message. From the newest entry of the header `x-death`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// `expired`, `delivery_limit`, `rejected` or `maxlen`.
    pub reason: String,
    /// The queue that the message was in.
    pub queue: String,
    /// The routing key with which it was published to this queue.
    pub routing_key: String,
}

/// A message from one of the queues, held until it is acknowledged.
///
/// A delivery that is dropped without an ack stays unacknowledged and uses one unit of the prefetch. RabbitMQ redelivers it when
/// the connection ends. Drop a delivery only if the message must be redelivered later. Dead-letter a message that cannot be
/// processed.
pub struct Delivery {
    /// The queue that delivered it.
    pub queue: ConsumedQueue,
    /// The message body, unchanged.
    pub body: Vec<u8>,
    /// The routing key of the publish.
    pub routing_key: String,
    /// The AMQP property `message_id`.
    pub message_id: Option<String>,
    /// The AMQP property `content_type`.
    pub content_type: Option<String>,
    /// The AMQP property `user_id`, which RabbitMQ checks against the publisher's user.
    pub user_id: Option<String>,
    /// The AMQP property `timestamp`, in Unix seconds: when it was published, if its publisher says so.
    pub published_at: Option<i64>,
    /// The header `traceparent`, unparsed.
    pub traceparent: Option<String>,
    /// How often RabbitMQ delivered the message before (`x-delivery-count`); 0 when the header is absent.
    pub delivery_count: u64,
    /// How often the message has expired in a queue of RabbitMQ before. Only an envelope counts this.
    pub expirations: u32,
    /// The AMQP flag `redelivered`.
    pub redelivered: bool,
    headers: FieldTable,
    tag: u64,
    /// Acks go to the channel of this delivery and to no other, because each channel numbers its tags from 1.
    settled: mpsc::UnboundedSender<Settlement>,
}

impl Delivery {
    pub(super) fn new(
        queue: ConsumedQueue, message: lapin::message::Delivery, settled: mpsc::UnboundedSender<Settlement>,
    ) -> Self {
        let properties = &message.properties;
        let headers = properties.headers().clone().unwrap_or_default();
        Self {
            queue,
            routing_key: message.routing_key.into(),
            message_id: properties.message_id().as_ref().map(ToString::to_string),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            user_id: properties.user_id().as_ref().map(ToString::to_string),
            published_at: properties.timestamp().and_then(|at| i64::try_from(at).ok()),
            traceparent: member(&headers, topology::header::TRACEPARENT).and_then(text),
            delivery_count: member(&headers, "x-delivery-count").and_then(count).unwrap_or(0),
            expirations: 0,
            redelivered: message.redelivered,
            body: message.data,
            headers,
            tag: message.delivery_tag,
            settled,
        }
    }

    /// The value of a header that is a text.
    pub fn header(&self, name: &str) -> Option<String> {
        member(&self.headers, name).and_then(text)
    }

    /// Why RabbitMQ has dead-lettered the message. `None` if it has not.
    pub fn death(&self) -> Option<Death> {
        let Some(AMQPValue::FieldArray(deaths)) = member(&self.headers, "x-death") else { return None };
        let Some(AMQPValue::FieldTable(newest)) = deaths.as_slice().first() else { return None };
        let Some(AMQPValue::FieldArray(keys)) = member(newest, "routing-keys") else { return None };
        Some(Death {
            reason: member(newest, "reason").and_then(text)?,
            queue: member(newest, "queue").and_then(text)?,
            routing_key: keys.as_slice().first().and_then(text)?,
        })
    }

    /// Whether the channel of this delivery is closed. Such a delivery cannot be acknowledged, and RabbitMQ redelivers it.
    pub fn will_be_redelivered(&self) -> bool {
        self.settled.is_closed()
    }

    /// Acknowledges the message. RabbitMQ redelivers it when the connection ends before the ack arrives.
    pub fn ack(self) {
        let _ = self.settled.send(Settlement { tag: self.tag, verb: Verb::Ack });
    }

    /// Returns the message to its queue. RabbitMQ 3.10 counts this in `x-delivery-count`.
    pub fn requeue(self) {
        let _ = self.settled.send(Settlement { tag: self.tag, verb: Verb::Requeue });
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

fn member<'a>(table: &'a FieldTable, name: &str) -> Option<&'a AMQPValue> {
    table.inner().get(name)
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
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
    content: Mutex<BufferContent>,
    changed: Notify,
}

#[derive(Default)]
struct BufferContent {
    waiting: VecDeque<Delivery>,
    /// No delivery comes any more.
    is_closed: bool,
    /// Nobody takes deliveries any more.
    is_abandoned: bool,
}

impl DeliveryBuffer {
    pub(super) fn put(&self, delivery: Delivery) {
        let mut content = self.content();
        if content.is_abandoned {
            delivery.requeue();
        } else {
            content.waiting.push_back(delivery);
            self.changed.notify_one();
        }
    }

    /// Drops all deliveries.
    pub(super) fn clear(&self) {
        self.content().waiting.clear();
    }

    /// Drops all deliveries. No further one comes.
    pub(super) fn close(&self) {
        let mut content = self.content();
        content.waiting.clear();
        content.is_closed = true;
        self.changed.notify_one();
    }

    /// Requeues all deliveries, and those that come later.
    fn abandon(&self) {
        let mut content = self.content();
        content.is_abandoned = true;
        content.waiting.drain(..).for_each(Delivery::requeue);
    }

    fn take(&self) -> Option<Delivery> {
        self.content().waiting.pop_front()
    }

    fn is_closed(&self) -> bool {
        self.content().is_closed
    }

    fn content(&self) -> MutexGuard<'_, BufferContent> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
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
                () = self.buffer.changed.notified(), if may => {}
            }
        }
    }

    /// Returns the next delivery that [`Deliveries::next`] did not return before the shutdown, or `None` when there is none left.
    /// Give each of them back to its queue.
    pub async fn next_left(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.buffer.take() {
                return Some(delivery);
            }
            if self.buffer.is_closed() {
                return None;
            }
            self.buffer.changed.notified().await;
        }
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        if self.shutdown.is_cancelled() {
            self.buffer.abandon();
        }
    }
}

/// Waits for a change. Waits for ever when the sender is dropped.
pub(super) async fn changed(may_consume: &mut watch::Receiver<bool>) {
    if may_consume.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
