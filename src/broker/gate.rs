//! Admits messages to a publishing connection: only while RabbitMQ accepts messages, and at most `max_outstanding` at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::in_flight::PublishResult;
use super::message::{Message, Prepared};
use super::{PublishError, Settings};

/// A message, and the channel for its result.
pub(super) struct PublishRequest {
    pub(super) prepared: Prepared,
    pub(super) responder: Responder,
}

pub(super) struct Responder {
    to: oneshot::Sender<PublishResult>,
    /// A permit of `max_outstanding`. It is released by the publisher confirm, not by the publisher's time-out.
    _permit: OwnedSemaphorePermit,
}

impl Responder {
    pub(super) fn respond(self, result: PublishResult) {
        let _ = self.to.send(result); // the publisher may have timed out
    }
}

pub(super) struct PublishGate {
    requests: Mutex<Option<mpsc::UnboundedSender<PublishRequest>>>,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl PublishGate {
    /// Creates a closed gate.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            requests: Mutex::new(None),
            permits: Arc::new(Semaphore::new(settings.max_outstanding.max(1))),
            timeout: settings.publish_timeout,
        }
    }

    pub(super) fn open(&self, requests: mpsc::UnboundedSender<PublishRequest>) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = Some(requests);
    }

    pub(super) fn close(&self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) async fn publish(&self, message: Message) -> PublishResult {
        let prepared = message.prepare().ok_or(PublishError::NameTooLong)?;
        let publishing = async {
            // Fails at once while RabbitMQ is unreachable. A publisher waits only for a permit and for the confirm.
            self.requests()?;
            let permit =
                Arc::clone(&self.permits).acquire_owned().await.map_err(|_| PublishError::Unreachable)?;
            let (to, result) = oneshot::channel();
            let request = PublishRequest { prepared, responder: Responder { to, _permit: permit } };
            self.requests()?.send(request).map_err(|_| PublishError::Unreachable)?;
            result.await.unwrap_or(Err(PublishError::Lost))
        };
        tokio::time::timeout(self.timeout, publishing).await.unwrap_or(Err(PublishError::TimedOut))
    }

    fn requests(&self) -> Result<mpsc::UnboundedSender<PublishRequest>, PublishError> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(PublishError::Unreachable)
    }
}
