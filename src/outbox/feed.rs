//! The live feed: the events of all tenants, from now on, for subscribers in this process. Events are not stored.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::outbox::cloud_event::CloudEvent;

/// Capacity of the feed. A slower subscriber loses the oldest events and gets the number of lost events.
const CAPACITY: usize = 4096;

/// The live feed. Clones share it.
#[derive(Clone)]
pub struct Feed {
    events: broadcast::Sender<Arc<CloudEvent>>,
    /// Whether this process receives events. False while the broker connection for events is down.
    listening: watch::Sender<bool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { events: broadcast::Sender::new(CAPACITY), listening: watch::Sender::new(true) }
    }
}

impl Feed {
    /// Sends an event to all subscribers. Never waits.
    pub fn publish(&self, event: CloudEvent) {
        let _ = self.events.send(Arc::new(event));
    }

    /// Subscribes to all events from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<CloudEvent>> {
        self.events.subscribe()
    }

    /// Number of subscribers.
    pub fn listeners(&self) -> usize {
        self.events.receiver_count()
    }

    /// Subscribes to whether this process receives events.
    pub fn listening(&self) -> watch::Receiver<bool> {
        self.listening.subscribe()
    }

    /// Records whether this process receives events.
    pub fn set_listening(&self, listening: bool) {
        self.listening.send_replace(listening);
    }
}
