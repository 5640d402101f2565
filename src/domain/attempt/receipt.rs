//! The carrier's later word about an attempt.

use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::domain::words::words;

words! {
    /// How much a receipt says.
    #[schemars(rename = "Verdict")]
    ReceiptStatus {
        /// The carrier has it; no end yet.
        Interim = "interim",
        /// It reached the phone, or a played call was answered.
        Delivered = "delivered",
        /// It will not arrive.
        Bad = "bad",
    }
}

/// The carrier's later word about an attempt, read and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// How much it says.
    pub verdict: ReceiptStatus,
    /// Why it is bad, in our words.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// Why it is bad, in the carrier's code.
    #[serde(default)]
    pub carrier_code: Option<String>,
    /// The carrier's id of what it is about.
    #[serde(default)]
    pub reference: Option<String>,
}
