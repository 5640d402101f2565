//! The rules of a configuration. A task uses one snapshot of them until it ends.

use std::collections::BTreeMap;

use crate::config::live::Live;
use crate::delivery::routing::Routes;
use crate::domain::restrictions::Restrictions;
use crate::intake::admission::Admitter;
use crate::seal::Keys;

/// Keys, admission and routes, made from one configuration; and the restrictions, which are in the ledger.
pub struct Rules {
    /// Seals, hashes and callback tokens.
    pub keys: Keys,
    /// Reads, checks and renders jobs.
    pub admitter: Admitter,
    /// The carriers' accounts, and the routes to them.
    pub routes: Routes,
    /// What operators have restricted. A reload keeps it.
    pub restrictions: Live<Restrictions>,
    /// The settings of the configuration, as operators may see them.
    pub settings: BTreeMap<String, String>,
}
