//! Counts what is under way for each name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How much is under way, by name.
#[derive(Debug, Default)]
pub struct Crowd(Mutex<HashMap<String, usize>>);

/// One that is under way. Dropping it makes room.
pub(super) struct Place<'c> {
    crowd: &'c Crowd,
    name: String,
}

impl Crowd {
    /// Lets one more in, where fewer than `most` of this name are.
    pub(super) fn enter(&self, name: &str, most: usize) -> Option<Place<'_>> {
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = crowd.entry(name.to_owned()).or_default();
        if *inside >= most {
            return None;
        }
        *inside += 1;
        Some(Place { crowd: self, name: name.to_owned() })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut crowd = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inside) = crowd.get_mut(&self.name) {
            *inside -= 1;
        }
        crowd.retain(|_, inside| *inside > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_room_of_its_own_and_leaving_makes_room() {
        let crowd = Crowd::default();
        let first = crowd.enter("a", 2);
        let second = crowd.enter("a", 2);
        assert!(first.is_some() && second.is_some() && crowd.enter("a", 2).is_none());
        assert!(crowd.enter("b", 2).is_some());
        drop(first);
        assert!(crowd.enter("a", 2).is_some());
    }
}
