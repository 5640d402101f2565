//! The live feed: every event of every tenant, from now on, to whoever listens in this process. Nothing is kept.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::outbox::cloud_event::CloudEvent;

/// Events that a slow listener may be behind; it is told how many it missed above that.
const BEHIND: usize = 4096;

/// The live feed. Clones share it.
#[derive(Clone)]
pub struct Feed {
    events: broadcast::Sender<Arc<CloudEvent>>,
    /// Whether this process listening of events at all; over a broker it may not.
    listening: watch::Sender<bool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { events: broadcast::Sender::new(BEHIND), listening: watch::Sender::new(true) }
    }
}

impl Feed {
    /// Tells everybody who listens. Never waits.
    pub fn publish(&self, event: CloudEvent) {
        let _ = self.events.send(Arc::new(event));
    }

    /// Listens, from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<CloudEvent>> {
        self.events.subscribe()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.events.receiver_count()
    }

    /// Whether events are heard of, now and later.
    pub fn listening(&self) -> watch::Receiver<bool> {
        self.listening.subscribe()
    }

    /// Events are heard of, or no longer.
    pub fn set_listening(&self, listening: bool) {
        self.listening.send_replace(listening);
    }
}
