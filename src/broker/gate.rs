//! Admits messages to a publishing connection: only while RabbitMQ accepts messages, and at most `max_outstanding` at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::in_flight::Settle;
use super::message::{Message, Prepared};
use super::{PublishError, Settings};

/// A message, and the channel for its result.
pub(super) struct Order {
    pub(super) prepared: Prepared,
    pub(super) answer: Answer,
}

pub(super) struct Answer {
    to: oneshot::Sender<Settle>,
    /// A permit of `max_outstanding`. It is released by the publisher confirm, not by the publisher's time-out.
    _place: OwnedSemaphorePermit,
}

impl Answer {
    pub(super) fn give(self, settle: Settle) {
        let _ = self.to.send(settle); // the publisher may have timed out
    }
}

pub(super) struct PublishGate {
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl PublishGate {
    /// Creates a closed gate.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            orders: Mutex::new(None),
            places: Arc::new(Semaphore::new(settings.max_outstanding.max(1))),
            patience: settings.publish_timeout,
        }
    }

    pub(super) fn open(&self, orders: mpsc::UnboundedSender<Order>) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(orders);
    }

    pub(super) fn close(&self) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) async fn publish(&self, message: Message) -> Settle {
        let prepared = message.prepare().ok_or(PublishError::Unfit)?;
        let publishing = async {
            // Fails at once while RabbitMQ is unreachable. A publisher only ever waits for a permit and for the confirm.
            self.orders()?;
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| PublishError::Away)?;
            let (to, answered) = oneshot::channel();
            let order = Order { prepared, answer: Answer { to, _place: place } };
            self.orders()?.send(order).map_err(|_| PublishError::Away)?;
            answered.await.unwrap_or(Err(PublishError::Lost))
        };
        tokio::time::timeout(self.patience, publishing).await.unwrap_or(Err(PublishError::TimedOut))
    }

    fn orders(&self) -> Result<mpsc::UnboundedSender<Order>, PublishError> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(PublishError::Away)
    }
}
