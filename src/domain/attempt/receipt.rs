//! Delivery receipts (DLR): later reports of a carrier about an attempt.

use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::domain::words::words;

words! {
    /// The status that a receipt reports.
    #[schemars(rename = "Verdict")]
    ReceiptStatus {
        /// The carrier has the message. A final report may follow.
        Interim = "interim",
        /// The message reached the phone, or the call was answered. A call with a code: a key was pressed, and the code was spoken.
        Delivered = "delivered",
        /// The message will not arrive.
        Bad = "bad",
    }
}

/// A delivery receipt, verified and parsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The reported status.
    #[serde(rename = "verdict")]
    pub status: ReceiptStatus,
    /// Why the message will not arrive.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// The carrier's error code.
    #[serde(default)]
    pub carrier_code: Option<String>,
    /// The carrier's message id.
    #[serde(default, rename = "reference")]
    pub message_id: Option<String>,
}
