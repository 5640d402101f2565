//! An outcome with what follows, or a conclusion alone.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::outbox::Destinations;
use crate::domain::attempt::{Judgement, Outcome};
use crate::domain::decide::{Slots, Transition};
use crate::domain::dispatch::Dispatch;

/// An outcome with what follows, or a conclusion alone.
#[derive(Debug, Clone)]
pub struct DecisionWrite {
    /// The dispatch.
    pub uid: Uuid,
    /// The version of the row that the decision was made on.
    pub expected_version: i64,
    /// The outcome of the open attempt.
    pub outcome: Option<AttemptOutcome>,
    /// What follows.
    pub conclusion: Option<Transition>,
    /// Whom its events are owed to.
    pub destinations: Destinations,
    /// The quota keys of the dispatch's slots.
    pub keys: Vec<String>,
}

/// How an attempt is closed.
#[derive(Debug, Clone)]
pub struct AttemptOutcome {
    /// Its number.
    pub n: u16,
    /// Its claim.
    pub claim: Uuid,
    /// The answer, judged.
    pub judgement: Judgement,
    /// When, by the ledger's clock as far as the worker knows it.
    pub at: Timestamp,
}

/// An outcome with what follows, as its column set knows it.
#[derive(Debug, Serialize)]
pub(in crate::ledger) struct DecisionRow<'a> {
    uid: Uuid,
    seen: i64,
    n: Option<u16>,
    claim: Option<Uuid>,
    outcome: Option<&'static str>,
    detail: Option<&'static str>,
    retry_after_ms: Option<u64>,
    closed_at: Option<Timestamp>,
    reference: Option<&'a str>,
    carrier_code: Option<&'a str>,
    segments: Option<u16>,
    price: Option<&'a str>,
    conclusion: Option<&'a Transition>,
    #[serde(flatten)]
    destinations: Destinations,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a [String]>,
}

impl DecisionWrite {
    /// An outcome, and what follows from it. `owes`: who must be told.
    pub fn finish(
        seen: &Dispatch, closing: AttemptOutcome, conclusion: Option<Transition>, destinations: Destinations,
    ) -> Self {
        Self { outcome: Some(closing), ..Self::of(seen, conclusion, destinations) }
    }

    /// A conclusion alone.
    pub fn decide(seen: &Dispatch, conclusion: Transition, destinations: Destinations) -> Self {
        Self::of(seen, Some(conclusion), destinations)
    }

    fn of(seen: &Dispatch, conclusion: Option<Transition>, destinations: Destinations) -> Self {
        let keys = seen.slots.iter().map(|s| s.key.clone()).collect();
        Self {
            uid: seen.order.uid,
            expected_version: seen.version,
            outcome: None,
            conclusion,
            destinations,
            keys,
        }
    }

    /// Whether the quota must be locked for it.
    pub(in crate::ledger) fn moves_slots(&self) -> bool {
        self.conclusion.as_ref().is_some_and(|c| c.slots != Slots::Keep)
    }

    pub(in crate::ledger) fn row(&self) -> DecisionRow<'_> {
        let closing = self.outcome.as_ref();
        let details = closing.map(|c| &c.judgement.details);
        let outcome = closing.map(|c| c.judgement.outcome);
        DecisionRow {
            uid: self.uid,
            seen: self.expected_version,
            n: closing.map(|c| c.n),
            claim: closing.map(|c| c.claim),
            outcome: outcome.map(Outcome::word),
            detail: outcome.and_then(Outcome::detail),
            retry_after_ms: match outcome {
                Some(Outcome::Throttled { retry_after: Some(d) }) => Some(d.as_millis() as u64),
                _ => None,
            },
            closed_at: closing.map(|c| c.at),
            reference: details.and_then(|d| d.reference.as_deref()),
            carrier_code: details.and_then(|d| d.carrier_code.as_deref()),
            segments: details.and_then(|d| d.segments),
            price: details.and_then(|d| d.price.as_deref()),
            conclusion: self.conclusion.as_ref(),
            destinations: self.destinations,
            keys: self.moves_slots().then_some(&self.keys),
        }
    }
}

/// What became of an outcome or a conclusion.
#[derive(Debug, Clone, PartialEq)]
pub enum Concluded {
    /// Written, with what follows.
    Written,
    /// The version had changed: the outcome alone was written; the dispatch as it is now.
    OutcomeOnly(Box<Dispatch>),
    /// The attempt was closed already. `fact`: it was unknown, and this answer proved its acceptance.
    Late {
        /// The row changed by it.
        fact: bool,
    },
    /// The dispatch is no longer the one that was seen; here it is, if it is still there.
    VersionConflict(Option<Box<Dispatch>>),
}
