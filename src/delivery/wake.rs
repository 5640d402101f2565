//! Wake-ups: "this dispatch is due", or will be. A lost one costs at most a second, because of the due scan.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::broker::{Broker, Exchange, Message};

/// The version of the wake-up message. A greater one is acked and dropped: the due scan serves it.
const VERSION: u32 = 1;

/// Wakes a worker: in this process where it has one, else over the broker.
#[derive(Clone)]
pub struct Waker {
    local: Option<mpsc::Sender<Call>>,
    broker: Option<Broker>,
}

/// A wake-up within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Our name for the dispatch.
    pub uid: Uuid,
    /// When it is due, from now.
    pub after: Duration,
}

#[derive(Serialize, Deserialize)]
struct WakeUp {
    v: u32,
    uid: Uuid,
}

impl Waker {
    /// `local` is this process's own worker.
    pub fn new(local: Option<mpsc::Sender<Call>>, broker: Option<Broker>) -> Self {
        Self { local, broker }
    }

    /// Wakes this process's worker when the dispatch is due.
    pub fn wake_after(&self, uid: Uuid, after: Duration) {
        if let Some(local) = &self.local {
            let _ = local.try_send(Call { uid, after });
        }
    }

    /// Wakes; never waits, never fails.
    pub fn wake(&self, uid: Uuid) {
        if let Some(local) = &self.local {
            let _ = local.try_send(Call { uid, after: Duration::ZERO });
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
                    mandatory: true,
                };
                let _ = broker.publish(message).await;
            });
        }
    }
}

/// The dispatch that a wake-up message names, if this version understands it.
pub fn read(body: &[u8]) -> Option<Uuid> {
    let wake: WakeUp = serde_json::from_slice(body).ok()?;
    (wake.v <= VERSION).then_some(wake.uid)
}
