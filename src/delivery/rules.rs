//! The rules of a configuration: a task takes one snapshot of them, and works by it to its end.

use crate::delivery::routing::Routes;
use crate::intake::admission::Admitter;
use crate::seal::Keys;

/// Keys, admission and routes, made from one configuration.
pub struct Rules {
    /// Seals, hashes and callback tokens.
    pub keys: Keys,
    /// Reads, checks and renders jobs.
    pub admitter: Admitter,
    /// The carriers' accounts, and which may serve what.
    pub routes: Routes,
}
