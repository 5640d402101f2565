//! What came in: deliveries that wait to be taken, and what a worker holds in its hands.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::types::AMQPValue;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::topology;

/// A queue that is consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// `otpost.dispatch`
    Dispatch,
    /// `otpost.suspect`
    Suspect,
    /// `otpost.receipts`
    Receipts,
}

impl Lane {
    pub(super) fn queue(self) -> &'static str {
        match self {
            Self::Dispatch => topology::DISPATCH,
            Self::Suspect => topology::SUSPECT,
            Self::Receipts => topology::RECEIPTS,
        }
    }
}

/// A message from one of the queues, held until it is acked.
///
/// One that is dropped without an ack stays with this worker, takes one place of its prefetch, and comes back when the
/// connection ends: that is for messages that must not be lost, not for those that cannot be used.
pub struct Delivery {
    /// The body as it was published.
    pub body: Vec<u8>,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The property `message_id`.
    pub message_id: Option<String>,
    /// The property `user_id`, which `RabbitMQ` checks against the connection's user.
    pub user_id: Option<String>,
    /// The header `traceparent`, as it came.
    pub traceparent: Option<String>,
    /// How often it came back from a reader before (`x-delivery-count`).
    pub times_returned: u64,
    /// Whether the broker has handed it out before.
    pub redelivered: bool,
    pub(super) tag: u64,
    /// To the channel that it came by, and to no other: tags start again at 1 on each.
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
            times_returned: header("x-delivery-count").and_then(|v| count(&v)).unwrap_or(0),
            redelivered: message.redelivered,
            body: message.data,
            tag: message.delivery_tag,
            settled,
        }
    }

    /// Whether the channel that it came by is gone: nobody can ack it, and it comes again.
    pub fn comes_again(&self) -> bool {
        self.settled.is_closed()
    }

    /// Tells the broker that this message is done with. When its connection is gone by then, it comes again.
    pub fn ack(self) {
        let _ = self.settled.send(self.tag);
    }
}

impl fmt::Debug for Delivery {
    /// Without the body: it may hold a code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("routing_key", &self.routing_key)
            .field("body_bytes", &self.body.len())
            .field("times_returned", &self.times_returned)
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

/// Deliveries that nobody has taken yet; never more than the prefetch, because the broker sends no more.
#[derive(Default)]
pub(super) struct Shelf {
    waiting: Mutex<VecDeque<Delivery>>,
    came: Notify,
}

impl Shelf {
    pub(super) fn put(&self, delivery: Delivery) {
        self.waiting().push_back(delivery);
        self.came.notify_one();
    }

    /// Takes everything away.
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

/// Where a worker takes its deliveries.
pub struct Intake {
    pub(super) shelf: Arc<Shelf>,
    pub(super) may_consume: watch::Receiver<bool>,
    pub(super) shutdown: CancellationToken,
}

impl Intake {
    /// The next delivery; None after shutdown, and only then. To drop the wait loses nothing.
    ///
    /// While consuming pauses, nothing comes: what had arrived before waits here, unacked.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.shutdown.is_cancelled() {
                return None;
            }
            let may = *self.may_consume.borrow_and_update();
            if may && let Some(delivery) = self.shelf.take() {
                return Some(delivery);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = changed(&mut self.may_consume) => {}
                () = self.shelf.came.notified(), if may => {}
            }
        }
    }
}

/// Waits for a change; for ever, when nobody is left to make one.
pub(super) async fn changed(may_consume: &mut watch::Receiver<bool>) {
    if may_consume.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
