//! Values that a reload replaces. A task takes the current value once and uses it until it is done, so a reload never changes a
//! value in use.

use std::sync::Arc;

use tokio::sync::watch;

/// A shared value that can be replaced. Clones share it.
pub struct Live<T>(Arc<watch::Sender<Arc<T>>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Live<T> {
    /// Creates the initial value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(value))))
    }

    /// Returns the current value. A later replacement does not change the returned value.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Replaces the value for all later calls of [`Live::current`].
    pub fn replace(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }

    /// Subscribes to replacements.
    pub fn changes(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }
}
