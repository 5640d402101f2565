//! Pauses of carriers and blocks of numbers, as the ledger stores them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::restrictions::{BlockKind, Restrictions};

/// A carrier that no worker may use, everywhere or in one country.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The configured name of the carrier.
    pub carrier: String,
    /// The ISO 3166 code of the country. `None`: everywhere.
    pub country: Option<String>,
    /// Why it is paused.
    pub reason: String,
    /// The id of the API key that paused it.
    pub paused_by: String,
    /// When it was paused.
    pub paused_at: Timestamp,
    /// When the pause ends by itself. `None`: only when the carrier is resumed.
    pub until: Option<Timestamp>,
}

/// A request of an operator that the next message to a carrier is let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The configured name of the carrier.
    pub carrier: String,
    /// When the operator asked for it.
    pub probe_at: Timestamp,
}

/// Numbers that get nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The kind of the block.
    pub kind: BlockKind,
    /// The keyed hash of the number, the prefix, or the country.
    pub value: String,
    /// The value as people may see it: the number is masked.
    pub shown: String,
    /// Why it is blocked.
    pub reason: String,
    /// The id of the API key that blocked it.
    pub blocked_by: String,
    /// When it was blocked.
    pub blocked_at: Timestamp,
    /// When the block ends by itself. `None`: only when it is removed.
    pub until: Option<Timestamp>,
}

/// All stored restrictions. Some of them may have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRestrictions {
    /// Differs after each change.
    pub revision: Uuid,
    /// The pauses, by carrier and country. A pause everywhere comes before those of the carrier in countries.
    pub pauses: Vec<Pause>,
    /// The latest request for a probe of each carrier.
    pub probes: Vec<Probe>,
    /// The blocks, newest first.
    pub blocks: Vec<Block>,
}

impl StoredRestrictions {
    /// Removes the pauses and blocks that have ended.
    pub fn retain_in_force(&mut self, now: Timestamp) {
        let lasts = |until: Option<Timestamp>| until.is_none_or(|until| until > now);
        self.pauses.retain(|pause| lasts(pause.until));
        self.blocks.retain(|block| lasts(block.until));
    }

    /// Returns the earliest end of a pause or block.
    pub fn next_end(&self) -> Option<Timestamp> {
        let ends = self.pauses.iter().map(|pause| pause.until);
        ends.chain(self.blocks.iter().map(|block| block.until)).flatten().min()
    }

    /// Returns all pauses and blocks as a process looks them up.
    pub fn in_force(&self) -> Restrictions {
        let mut restrictions = Restrictions::read();
        for pause in &self.pauses {
            restrictions.pause(&pause.carrier, pause.country.as_deref());
        }
        for block in &self.blocks {
            restrictions.block(block.kind, &block.value);
        }
        restrictions
    }
}

/// A pause to store. It replaces an earlier one of the carrier in the same country, or the earlier one everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPause {
    /// The configured name of the carrier.
    pub carrier: String,
    /// The ISO 3166 code of the country. `None`: everywhere.
    pub country: Option<String>,
    /// Why it is paused.
    pub reason: String,
    /// How long. `None`: until it is resumed.
    pub duration: Option<Duration>,
}

/// A block to store. It replaces an earlier one of the same kind and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlock {
    /// The kind of the block.
    pub kind: BlockKind,
    /// The keyed hash of the number, the prefix, or the country.
    pub value: String,
    /// The value as people may see it.
    pub shown: String,
    /// Why it is blocked.
    pub reason: String,
    /// How long. `None`: until it is removed.
    pub duration: Option<Duration>,
}
