//! Attempts: one request to one carrier, its outcome and its receipts. The states of a dispatch follow from them.

mod outcome;
mod reason;
mod receipt;
mod state;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::channel::Channel;
pub use outcome::{Details, Judgement, Outcome};
pub use reason::{NotSentCause, Reason, RefusalScope};
pub use receipt::{Receipt, ReceiptStatus};
pub use state::State;

/// Maximum time (by the clock since boot) from handing a begin to the ledger until handing the request to the HTTP client. Later nothing is
/// sent: the attempt may already count as unknown and be repeated.
pub const BEGIN_TO_SEND: Duration = Duration::from_secs(3);

/// One request to one carrier for one step. Its id is `<uid>-<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the attempt in the dispatch, counted from 1.
    pub n: u16,
    /// The step that the attempt serves, counted from 1.
    pub step: u8,
    /// The channel of the step.
    pub channel: Channel,
    /// The configured name of the carrier.
    pub carrier: String,
    /// The claim: 16 random bytes. Only the worker that knows it may write the carrier's answer. A receipt or a passed deadline
    /// also closes the attempt.
    pub claim: Uuid,
    /// Number of the unknown attempt that this attempt repeats.
    #[serde(default)]
    pub repeats: Option<u16>,
    /// When the attempt was committed, by the ledger's clock.
    pub begun_at: Timestamp,
    /// When the attempt becomes `Unknown`, unless an answer or a receipt arrives before.
    pub deadline: Timestamp,
    /// When the attempt was closed.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
    /// The outcome; `None` while the attempt is open.
    #[serde(flatten, with = "outcome::columns")]
    pub outcome: Option<Outcome>,
    /// Other values from the carrier's answer.
    #[serde(flatten)]
    pub details: Details,
    /// The final delivery receipt (DLR) that counts, if one arrived.
    #[serde(default)]
    pub receipt: Option<ReceiptStatus>,
    /// Why that receipt is bad.
    #[serde(default)]
    pub receipt_reason: Option<Reason>,
    /// The carrier's error code in that receipt.
    #[serde(default)]
    pub receipt_code: Option<String>,
    /// When that receipt was recorded.
    #[serde(default)]
    pub receipt_at: Option<Timestamp>,
    /// The reason of an earlier bad receipt, which this one corrected.
    #[serde(default)]
    pub corrected_reason: Option<Reason>,
    /// The carrier's error code in the corrected receipt.
    #[serde(default)]
    pub corrected_code: Option<String>,
    /// When the corrected receipt was recorded.
    #[serde(default)]
    pub corrected_at: Option<Timestamp>,
}

impl Attempt {
    /// Returns whether the carrier accepted the request.
    pub fn is_accepted(&self) -> bool {
        self.outcome == Some(Outcome::Accepted)
    }

    /// Returns whether the outcome is unknown: the carrier may have accepted the request.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
    }

    /// Returns whether a receipt reports delivery to the phone.
    pub fn is_delivered(&self) -> bool {
        self.receipt == Some(ReceiptStatus::Delivered)
    }

    /// Returns whether a receipt reports that the message will not arrive.
    pub fn is_bad(&self) -> bool {
        self.receipt == Some(ReceiptStatus::Bad)
    }

    /// Returns whether a receipt changes the attempt: it proves acceptance, is the first final receipt, or replaces a bad one.
    pub fn is_changed_by(&self, receipt: &Receipt) -> bool {
        !self.is_accepted() || self.takes_status_of(receipt)
    }

    /// Returns whether the status of a receipt becomes the attempt's: it is the first final one, or `delivered` after a bad one.
    pub fn takes_status_of(&self, receipt: &Receipt) -> bool {
        match receipt.status {
            ReceiptStatus::Interim => false,
            ReceiptStatus::Bad => self.receipt.is_none(),
            ReceiptStatus::Delivered => !self.is_delivered(),
        }
    }

    /// Applies a receipt. The attempt becomes accepted, whatever its outcome was. `delivered` replaces a bad receipt; otherwise the
    /// first final receipt stays.
    pub fn apply_receipt(&mut self, receipt: &Receipt, now: Timestamp) {
        if !self.is_accepted() {
            self.outcome = Some(Outcome::Accepted);
            self.closed_at.get_or_insert(now);
        }
        if self.details.message_id.is_none() {
            self.details.message_id.clone_from(&receipt.message_id);
        }
        if self.takes_status_of(receipt) {
            if self.is_bad() {
                self.corrected_reason = self.receipt_reason;
                self.corrected_code = self.receipt_code.take();
                self.corrected_at = self.receipt_at;
            }
            self.receipt = Some(receipt.status);
            self.receipt_reason = receipt.reason;
            self.receipt_code.clone_from(&receipt.carrier_code);
            self.receipt_at = Some(now);
        }
    }
}

/// The id of an attempt in callback URLs and events: `<uid>-<n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptId {
    /// The uid of the dispatch.
    pub uid: Uuid,
    /// Number of the attempt in the dispatch, counted from 1.
    pub n: u16,
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.uid, self.n)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = crate::domain::words::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = crate::domain::words::UnknownWord("AttemptId");
        let (uid, n) = text.rsplit_once('-').ok_or(bad)?;
        let id = Self { uid: uid.parse().map_err(|_| bad)?, n: n.parse().map_err(|_| bad)? };
        // Only one spelling is valid, so that a token is valid for one path only.
        if id.to_string() == text { Ok(id) } else { Err(bad) }
    }
}

#[cfg(test)]
mod tests {
    use super::AttemptId;

    #[test]
    fn an_attempt_id_has_one_spelling() {
        let id = "0192f0c1-2222-7333-8444-555566667777-12";
        assert_eq!(id.parse::<AttemptId>().unwrap().to_string(), id);
        assert!("0192F0C1-2222-7333-8444-555566667777-12".parse::<AttemptId>().is_err());
        assert!("0192f0c1-2222-7333-8444-555566667777-012".parse::<AttemptId>().is_err());
    }
}
