//! A configuration that can be replaced while it is in use.

use std::sync::{Arc, PoisonError, RwLock};

use super::Config;

/// The current configuration.
#[derive(Debug)]
pub struct Live(RwLock<Arc<Config>>);

impl Live {
    /// Creates it with a configuration.
    pub fn new(config: Arc<Config>) -> Self {
        Self(RwLock::new(config))
    }

    /// Returns the current configuration. A request uses the same one until its end.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the configuration.
    pub fn replace(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
