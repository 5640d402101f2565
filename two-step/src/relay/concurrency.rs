//! Limits concurrency by name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Counts the permits in use, by name.
#[derive(Debug, Default)]
pub struct ConcurrencyLimit(Mutex<HashMap<String, usize>>);

/// A permit. Dropping it releases it.
pub(super) struct Permit<'c> {
    limit: &'c ConcurrencyLimit,
    name: String,
}

impl ConcurrencyLimit {
    /// Returns a permit if fewer than `max` of this name are in use.
    pub(super) fn acquire(&self, name: &str, max: usize) -> Option<Permit<'_>> {
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = limit.entry(name.to_owned()).or_default();
        if *held >= max {
            return None;
        }
        *held += 1;
        Some(Permit { limit: self, name: name.to_owned() })
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut limit = self.limit.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = limit.get_mut(&self.name) {
            *held -= 1;
        }
        limit.retain(|_, held| *held > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_own_permits_and_drop_releases_one() {
        let limit = ConcurrencyLimit::default();
        let first = limit.acquire("a", 2);
        let second = limit.acquire("a", 2);
        assert!(first.is_some() && second.is_some() && limit.acquire("a", 2).is_none());
        assert!(limit.acquire("b", 2).is_some());
        drop(first);
        assert!(limit.acquire("a", 2).is_some());
    }
}
