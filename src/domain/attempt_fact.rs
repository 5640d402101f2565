//! What happened to an attempt, as the ledger has committed it. Counters and metrics are made from these facts.

use jiff::Timestamp;

use crate::domain::attempt::{Attempt, AttemptId, Outcome, Receipt, ReceiptStatus};
use crate::domain::delivery_cell::Cell;
use crate::domain::dispatch::Dispatch;

/// Something that happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFact {
    /// The attempt.
    pub attempt: AttemptId,
    /// W3C trace context of the dispatch's sender.
    pub traceparent: Option<String>,
    /// Channel, carrier, country and tenant.
    pub cell: Cell,
    /// When the dispatch was admitted.
    pub admitted_at: Timestamp,
    /// When the attempt began.
    pub begun_at: Timestamp,
    /// When this happened.
    pub at: Timestamp,
    /// What happened.
    pub event: AttemptEvent,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEvent {
    /// The carrier answered, or it is unknown whether it accepted the message.
    Answered {
        /// The outcome.
        outcome: Outcome,
        /// Message parts that the carrier charges, if it says so.
        segments: Option<u16>,
        /// Whether the attempt repeats an unknown one.
        is_repeat: bool,
        /// The carrier's error code.
        code: Option<String>,
    },
    /// A receipt or a late answer proved that the carrier had accepted the message.
    Accepted {
        /// Whether the outcome was `Unknown` before. Otherwise there was no outcome, or a refusal.
        was_unknown: bool,
    },
    /// A final receipt was recorded.
    Receipt {
        /// The status: delivered or bad.
        status: ReceiptStatus,
        /// Whether it replaces an earlier bad receipt.
        corrects: bool,
        /// The carrier's error code.
        code: Option<String>,
    },
    /// The sender reported that the code was verified. The attempt is the newest delivered one, or else the newest accepted one.
    Verified,
}

impl AttemptEvent {
    /// What failed, and the carrier's error code: the outcome, or `undelivered`. `None` if nothing failed, or if otpost itself did
    /// not send.
    pub fn failure(&self) -> Option<(&'static str, Option<&str>)> {
        match self {
            Self::Answered { outcome: Outcome::Accepted, .. } => None,
            Self::Answered { outcome: Outcome::NotSent(cause), .. } if cause.is_own() => None,
            Self::Answered { outcome, code, .. } => Some((outcome.word(), code.as_deref())),
            Self::Receipt { status: ReceiptStatus::Bad, code, .. } => Some(("undelivered", code.as_deref())),
            _ => None,
        }
    }
}

impl AttemptFact {
    /// A fact about an attempt of this dispatch.
    pub fn new(d: &Dispatch, attempt: &Attempt, at: Timestamp, event: AttemptEvent) -> Self {
        let cell = Cell::of(d, attempt);
        let (id, traceparent) = (AttemptId { uid: d.order.uid, n: attempt.n }, d.order.traceparent.clone());
        Self {
            attempt: id,
            traceparent,
            cell,
            admitted_at: d.admitted_at,
            begun_at: attempt.begun_at,
            at,
            event,
        }
    }

    /// The facts of a receipt that changes this attempt, which it has not changed yet.
    pub fn of_receipt(d: &Dispatch, attempt: &Attempt, receipt: &Receipt, at: Timestamp) -> Vec<Self> {
        let mut facts = vec![];
        if !attempt.is_accepted() {
            if attempt.outcome.is_none() {
                let outcome = Outcome::Unknown;
                let is_repeat = attempt.repeats.is_some();
                let answered = AttemptEvent::Answered { outcome, segments: None, is_repeat, code: None };
                facts.push(Self::new(d, attempt, at, answered));
            }
            let was_unknown = attempt.outcome.is_none() || attempt.is_unknown();
            facts.push(Self::new(d, attempt, at, AttemptEvent::Accepted { was_unknown }));
        }
        if attempt.takes_status_of(receipt) {
            let code = receipt.carrier_code.clone();
            let event = AttemptEvent::Receipt { status: receipt.status, corrects: attempt.is_bad(), code };
            facts.push(Self::new(d, attempt, at, event));
        }
        facts
    }

    /// The fact that the code of this dispatch was verified. `None` if no carrier has accepted it.
    pub fn verified(d: &Dispatch, at: Timestamp) -> Option<Self> {
        let newest = |is: fn(&Attempt) -> bool| d.attempts.iter().rev().find(|attempt| is(attempt));
        let attempt = newest(Attempt::is_delivered).or_else(|| newest(Attempt::is_accepted))?;
        Some(Self::new(d, attempt, at, AttemptEvent::Verified))
    }
}
