//! The live feed: every event of every tenant, from now on, to whoever listens in this process. Nothing is kept.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::cloud_event::CloudEvent;

/// Events that a slow listener may be behind; it is told how many it missed above that.
const BEHIND: usize = 4096;

/// The live feed. Clones share it.
#[derive(Clone)]
pub struct Feed(broadcast::Sender<Arc<CloudEvent>>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Feed {
    /// Tells everybody who listens. Never waits.
    pub fn tell(&self, event: CloudEvent) {
        let _ = self.0.send(Arc::new(event));
    }

    /// Listens, from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<CloudEvent>> {
        self.0.subscribe()
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.0.receiver_count()
    }
}
