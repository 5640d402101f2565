//! The door to the publishing side: open while the broker takes messages, and never more go through than it confirms.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::in_flight::Settle;
use super::message::{Message, Prepared};
use super::{PublishError, Settings};

/// A message with where its answer goes.
pub(super) struct Order {
    pub(super) prepared: Prepared,
    pub(super) answer: Answer,
}

pub(super) struct Answer {
    to: oneshot::Sender<Settle>,
    /// A place among the outstanding. It is free again when the confirm came, not when its publisher lost patience.
    _place: OwnedSemaphorePermit,
}

impl Answer {
    pub(super) fn give(self, settle: Settle) {
        let _ = self.to.send(settle); // its publisher may have lost patience
    }
}

pub(super) struct PublishGate {
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    places: Arc<Semaphore>,
    patience: Duration,
}

impl PublishGate {
    /// A closed one.
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
            // Who comes while the broker is away does not wait; who waits in line waits for no more than a place.
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
