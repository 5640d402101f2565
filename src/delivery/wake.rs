//! Wake-ups: a dispatch is due, or will be. After a lost wake-up the due scan takes the dispatch, in its order of time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::broker::{Broker, Exchange, Message};

/// The version of the wake-up message. A greater version is acknowledged and dropped, because the due scan finds the dispatch.
const VERSION: u32 = 1;

/// Wakes a worker: the one in this process if there is one, otherwise one over the broker.
#[derive(Clone)]
pub struct DispatchWaker {
    local: Option<mpsc::Sender<WakeRequest>>,
    broker: Option<Broker>,
}

/// A wake-up within this process, now or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeRequest {
    /// Our id of the dispatch.
    pub uid: Uuid,
    /// Time from now until the dispatch is due.
    pub after: Duration,
}

#[derive(Serialize, Deserialize)]
struct WakeUp {
    v: u32,
    uid: Uuid,
}

impl DispatchWaker {
    /// Creates a waker. `local` is the channel to this process's own worker.
    pub fn new(local: Option<mpsc::Sender<WakeRequest>>, broker: Option<Broker>) -> Self {
        Self { local, broker }
    }

    /// Wakes this process's worker after a delay. Does nothing without one.
    pub fn wake_after(&self, uid: Uuid, after: Duration) {
        if let Some(local) = &self.local {
            let _ = local.try_send(WakeRequest { uid, after });
        }
    }

    /// Wakes a worker now. Never waits and never fails.
    pub fn wake(&self, uid: Uuid) {
        if let Some(local) = &self.local {
            let _ = local.try_send(WakeRequest { uid, after: Duration::ZERO });
        } else if let Some(broker) = self.broker.clone() {
            tokio::spawn(async move {
                let body = serde_json::to_vec(&WakeUp { v: VERSION, uid }).unwrap_or_default();
                let message = Message {
                    exchange: Exchange::Otpost,
                    routing_key: "wake".to_owned(),
                    body,
                    message_id: uid.to_string(),
                    kind: "wake",
                    content_type: "application/json",
                    headers: vec![],
                    user_id: None,
                    expiration: None,
                    mandatory: true,
                };
                let _ = broker.publish(message).await;
            });
        }
    }
}

/// Returns the uid of a wake-up message, or `None` if this version cannot read it.
pub fn read(body: &[u8]) -> Option<Uuid> {
    let wake: WakeUp = serde_json::from_slice(body).ok()?;
    (wake.v <= VERSION).then_some(wake.uid)
}
