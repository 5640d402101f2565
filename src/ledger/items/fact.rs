//! Facts from outside: receipts, and marks of the sender.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::attempt::{Receipt, State};
use crate::domain::dispatch::Stop;

/// A receipt for an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The dispatch.
    pub uid: Uuid,
    /// The attempt's number.
    pub n: u16,
    /// The carrier whose door it came through.
    pub carrier: String,
    /// What it says.
    #[serde(flatten)]
    pub receipt: Receipt,
}

impl Recording {
    /// Whether it holds words of the carrier's own.
    pub(in crate::ledger) fn quotes(&self) -> bool {
        self.receipt.carrier_code.is_some() || self.receipt.reference.is_some()
    }

    /// The same without them.
    pub(in crate::ledger) fn without_quotes(mut self) -> Self {
        (self.receipt.carrier_code, self.receipt.reference) = (None, None);
        self
    }
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// It changed what is known: the dispatch is due.
    Recorded,
    /// It was known, or does not outrank what is.
    NothingNew,
    /// There is no such attempt of this carrier; it is kept for 72 h.
    Stray,
}

/// A mark: no further request may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marking {
    /// Whose dispatch.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// Why.
    pub stop: Stop,
}

/// What became of a mark.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Marked {
    /// It stands now.
    Marked {
        /// Our name for the dispatch.
        uid: Uuid,
        /// Its state.
        state: State,
    },
    /// An earlier one stands.
    MarkedBefore {
        /// Its state.
        state: State,
        /// The mark that stands.
        stop: Stop,
    },
    /// The dispatch has ended.
    Final {
        /// How.
        state: State,
    },
    /// There is no such dispatch.
    Unknown,
}

/// The next step is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advancing {
    /// Whose dispatch.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// The step that is to be left; none: the current one.
    pub step: Option<u8>,
}

/// What became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Advanced {
    /// The next step is asked for now: it begins as soon as no attempt is open.
    Advanced {
        /// Our name for the dispatch.
        uid: Uuid,
        /// Its state.
        state: State,
    },
    /// The step had been left before.
    Before {
        /// The dispatch's state.
        state: State,
    },
    /// The step that was asked for before has no closed attempt yet.
    Pending,
    /// There is no further step.
    PlanOver,
    /// No further request may begin.
    Stopped {
        /// Why.
        stop: Stop,
    },
    /// The dispatch has ended.
    Final {
        /// How.
        state: State,
    },
    /// There is no such dispatch.
    Unknown,
}
