//! Facts from outside: delivery receipts, and the sender's stop and next requests.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::attempt::{Receipt, State};
use crate::domain::attempt_fact::AttemptFact;
use crate::domain::dispatch::Stop;

/// A delivery receipt for an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReceipt {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The attempt's number, from 1.
    pub n: u16,
    /// The configured carrier whose callback URL received the receipt.
    pub carrier: String,
    /// The content of the receipt.
    #[serde(flatten)]
    pub receipt: Receipt,
}

impl AttemptReceipt {
    /// Whether the receipt holds texts of the carrier.
    pub(in crate::ledger) fn has_carrier_texts(&self) -> bool {
        self.receipt.carrier_code.is_some() || self.receipt.message_id.is_some()
    }

    /// The receipt without the carrier's texts.
    pub(in crate::ledger) fn without_carrier_texts(mut self) -> Self {
        (self.receipt.carrier_code, self.receipt.message_id) = (None, None);
        self
    }
}

/// The result of recording a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordResult {
    /// The receipt changed the attempt, and the dispatch is due.
    Recorded,
    /// The receipt is a duplicate, or does not outrank the recorded one.
    NothingNew,
    /// The ledger has no such attempt of this carrier, or cannot read its row. The receipt is kept for 72 h and matched again.
    Stray,
}

/// A receipt as a store has recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The result.
    pub result: RecordResult,
    /// What it says of the attempt. Empty if it changed nothing.
    pub facts: Vec<AttemptFact>,
}

impl From<RecordResult> for Recorded {
    fn from(result: RecordResult) -> Self {
        Self { result, facts: vec![] }
    }
}

/// A request to stop a dispatch: no further attempt may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRequest {
    /// The tenant that the dispatch belongs to.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The reason of the stop.
    pub stop: Stop,
}

/// A stop request as a store has answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The result.
    pub result: StopResult,
    /// The fact that the code was verified. A repeated request may repeat it if the dispatch had ended before the first one.
    pub verified: Option<AttemptFact>,
}

/// The result of a stop request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopResult {
    /// The dispatch is now marked as stopped.
    Marked {
        /// The dispatch's uid.
        uid: Uuid,
        /// The dispatch's state.
        state: State,
    },
    /// The dispatch was marked as stopped before.
    MarkedBefore {
        /// The dispatch's state.
        state: State,
        /// The reason of the earlier stop.
        stop: Stop,
    },
    /// The dispatch is in a final state.
    Final {
        /// The final state.
        state: State,
    },
    /// The tenant has no dispatch with this id.
    Unknown,
}

/// The result of an operator's request to make a dispatch due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryResult {
    /// It is due.
    Due {
        /// The dispatch's state.
        state: State,
    },
    /// A carrier has its message, or a request is open.
    UnderWay {
        /// The dispatch's state.
        state: State,
    },
    /// It is stopped, so no further attempt may begin.
    Stopped {
        /// The reason of the stop.
        stop: Stop,
    },
    /// It is in a final state, and its code is deleted.
    Final {
        /// The final state.
        state: State,
    },
    /// There is no such dispatch.
    Unknown,
}

/// A request for the next step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdvanceRequest {
    /// The tenant that the dispatch belongs to.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The step to leave, from 1. `None` means the current step.
    pub step: Option<u8>,
}

/// The result of a request for the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdvanceResult {
    /// The request is recorded. The next step begins as soon as no attempt is open.
    Advanced {
        /// The dispatch's uid.
        uid: Uuid,
        /// The dispatch's state.
        state: State,
    },
    /// The dispatch had left this step before.
    Before {
        /// The dispatch's state.
        state: State,
    },
    /// An earlier request is pending: its step has no closed attempt yet.
    Pending {
        /// The state of the dispatch.
        state: State,
    },
    /// The plan has no further step.
    PlanOver,
    /// The dispatch is stopped, so no further attempt may begin.
    Stopped {
        /// The reason of the stop.
        stop: Stop,
    },
    /// The dispatch is in a final state.
    Final {
        /// The final state.
        state: State,
    },
    /// The tenant has no dispatch with this id.
    Unknown,
}
