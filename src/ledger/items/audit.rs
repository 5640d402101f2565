//! The record of what operators did.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::words::words;

words! {
    /// An act of an operator.
    OperatorAct {
        /// Pause a carrier.
        CarrierPause = "carrier_pause",
        /// Resume a paused carrier.
        CarrierResume = "carrier_resume",
        /// Let the next message to a carrier through.
        CarrierProbe = "carrier_probe",
        /// Block a number, a prefix or a country.
        BlockAdd = "block_add",
        /// Remove a block.
        BlockRemove = "block_remove",
        /// Cancel a dispatch.
        DispatchCancel = "dispatch_cancel",
        /// Make a waiting dispatch due now.
        DispatchRetry = "dispatch_retry",
        /// Reset the quotas of a number.
        QuotaReset = "quota_reset",
        /// Delete all rows of a number.
        Erase = "erase",
    }
}

/// An act to record. The ledger adds the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAuditRecord {
    /// The id of the record, by which a repeated write is recognised.
    pub id: Uuid,
    /// The id of the API key.
    pub who: String,
    /// The act.
    pub act: OperatorAct,
    /// To what. Never a whole number.
    pub subject: String,
    /// Why, if the operator said so.
    pub reason: Option<String>,
}

/// A recorded act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The id of the record, a `UUIDv7`.
    pub id: Uuid,
    /// When it was done.
    pub at: Timestamp,
    /// The id of the API key.
    pub who: String,
    /// The act: a word of [`OperatorAct`], or one of another version.
    pub act: String,
    /// To what. Never a whole number.
    pub subject: String,
    /// Why, if the operator said so.
    pub reason: Option<String>,
}
