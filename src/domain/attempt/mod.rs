//! One request to one carrier, what became of it, and the states that follow from it.

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
pub use reason::{Cause, Reason, RefusalScope};
pub use receipt::{Receipt, ReceiptStatus};
pub use state::State;

/// From handing a begin to the ledger until handing the request to the client. Whoever was away for longer, by boot
/// time, sends nothing: the attempt may already count as unknown, and be repeated.
pub const BEGIN_TO_SEND: Duration = Duration::from_secs(3);

/// One request to one carrier for one step. Its id is `<uid>-<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number in the dispatch, from 1.
    pub n: u16,
    /// The step it serves, from 1.
    pub step: u8,
    /// The step's channel.
    pub channel: Channel,
    /// The configured carrier.
    pub carrier: String,
    /// 16 random bytes: who knows them may write the outcome.
    pub claim: Uuid,
    /// The unknown attempt that it repeats.
    #[serde(default)]
    pub repeats: Option<u16>,
    /// When it was committed, by the ledger's clock.
    pub begun_at: Timestamp,
    /// When it becomes `Unknown` unless an answer or a receipt has come.
    pub deadline: Timestamp,
    /// When it was closed.
    #[serde(default)]
    pub closed_at: Option<Timestamp>,
    /// What became of it; none while it is open.
    #[serde(flatten, with = "outcome::columns")]
    pub outcome: Option<Outcome>,
    /// What else was said.
    #[serde(flatten)]
    pub details: Details,
    /// The final receipt that counts, if one came.
    #[serde(default)]
    pub receipt: Option<ReceiptStatus>,
    /// Why that receipt is bad.
    #[serde(default)]
    pub receipt_reason: Option<Reason>,
    /// That receipt's code, in the carrier's words.
    #[serde(default)]
    pub receipt_code: Option<String>,
    /// When it was recorded.
    #[serde(default)]
    pub receipt_at: Option<Timestamp>,
}

impl Attempt {
    /// It was accepted.
    pub fn is_accepted(&self) -> bool {
        self.outcome == Some(Outcome::Accepted)
    }

    /// Nobody knows whether it was accepted.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Some(Outcome::Unknown)
    }

    /// A receipt says that it reached the phone.
    pub fn is_delivered(&self) -> bool {
        self.receipt == Some(ReceiptStatus::Delivered)
    }

    /// A receipt says that it will not arrive, and why.
    pub fn is_bad(&self) -> bool {
        self.receipt == Some(ReceiptStatus::Bad)
    }

    /// Whether a receipt changes what is known: it proves acceptance, is the first final one, or outranks a bad one.
    pub fn learns_from(&self, receipt: &Receipt) -> bool {
        let proves = !self.is_accepted();
        match receipt.verdict {
            ReceiptStatus::Interim => proves,
            ReceiptStatus::Bad => proves || self.receipt.is_none(),
            ReceiptStatus::Delivered => proves || !self.is_delivered(),
        }
    }

    /// Takes a receipt in: whatever the outcome was, the attempt is accepted; `delivered` outranks a bad one, else
    /// the first final one stays.
    pub fn learn(&mut self, receipt: &Receipt, now: Timestamp) {
        if !self.is_accepted() {
            self.outcome = Some(Outcome::Accepted);
            self.closed_at.get_or_insert(now);
        }
        if self.details.reference.is_none() {
            self.details.reference.clone_from(&receipt.reference);
        }
        let counts = match receipt.verdict {
            ReceiptStatus::Interim => false,
            ReceiptStatus::Bad => self.receipt.is_none(),
            ReceiptStatus::Delivered => !self.is_delivered(),
        };
        if counts {
            self.receipt = Some(receipt.verdict);
            self.receipt_reason = receipt.reason;
            self.receipt_code.clone_from(&receipt.carrier_code);
            self.receipt_at = Some(now);
        }
    }
}

/// The name of an attempt in callback URLs and events: `<uid>-<n>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The dispatch.
    pub uid: Uuid,
    /// The attempt's number in it.
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
        // One spelling only, so that a token is good for one path.
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
