//! The rules of a configuration. A task uses one snapshot of them until it ends.

use crate::delivery::routing::Routes;
use crate::intake::admission::Admitter;
use crate::seal::Keys;

/// Keys, admission and routes, made from one configuration.
pub struct Rules {
    /// Seals, hashes and callback tokens.
    pub keys: Keys,
    /// Reads, checks and renders jobs.
    pub admitter: Admitter,
    /// The carriers' accounts, and the routes to them.
    pub routes: Routes,
}
