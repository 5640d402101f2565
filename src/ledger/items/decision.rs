//! The write of a decision: an outcome with its transition, or only a transition.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::outbox::Destinations;
use crate::domain::attempt::{Judgement, Outcome};
use crate::domain::decide::{QuotaChange, Transition};
use crate::domain::dispatch::Dispatch;

/// The write of a decision: an attempt's outcome with the transition that follows from it, or only a transition.
#[derive(Debug, Clone)]
pub struct DecisionWrite {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The version of the row that the decision was made on.
    pub expected_version: i64,
    /// The outcome of the open attempt.
    pub outcome: Option<AttemptOutcome>,
    /// The transition of the dispatch. `None` writes the outcome only.
    pub transition: Option<Transition>,
    /// Where the events of the transition are published.
    pub destinations: Destinations,
    /// The quota keys of the dispatch's quota uses.
    pub keys: Vec<String>,
}

/// The outcome that closes an attempt.
#[derive(Debug, Clone)]
pub struct AttemptOutcome {
    /// The attempt's number, from 1.
    pub n: u16,
    /// The attempt's claim.
    pub claim: Uuid,
    /// The outcome, with the details of the carrier's answer.
    pub judgement: Judgement,
    /// When the attempt ended, by the worker's estimate of the ledger's clock.
    pub at: Timestamp,
}

/// A [`DecisionWrite`] as the SQL function reads it.
#[derive(Debug, Serialize)]
pub(in crate::ledger) struct DecisionRow<'a> {
    uid: Uuid,
    #[serde(rename = "seen")]
    expected_version: i64,
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
    #[serde(rename = "conclusion")]
    transition: Option<&'a Transition>,
    #[serde(flatten)]
    destinations: Destinations,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a [String]>,
}

impl DecisionWrite {
    /// An outcome with the transition that follows from it.
    pub fn with_outcome(
        dispatch: &Dispatch, outcome: AttemptOutcome, transition: Option<Transition>,
        destinations: Destinations,
    ) -> Self {
        Self { outcome: Some(outcome), ..Self::of(dispatch, transition, destinations) }
    }

    /// A transition without an outcome.
    pub fn transition_only(dispatch: &Dispatch, transition: Transition, destinations: Destinations) -> Self {
        Self::of(dispatch, Some(transition), destinations)
    }

    fn of(dispatch: &Dispatch, transition: Option<Transition>, destinations: Destinations) -> Self {
        let keys = dispatch.quota_uses.iter().map(|s| s.key.clone()).collect();
        Self {
            uid: dispatch.order.uid,
            expected_version: dispatch.version,
            outcome: None,
            transition,
            destinations,
            keys,
        }
    }

    /// Whether the write changes quota uses and must lock the quotas.
    pub(in crate::ledger) fn changes_quota_uses(&self) -> bool {
        self.transition.as_ref().is_some_and(|c| c.quota_change != QuotaChange::Keep)
    }

    pub(in crate::ledger) fn row(&self) -> DecisionRow<'_> {
        let closing = self.outcome.as_ref();
        let details = closing.map(|c| &c.judgement.details);
        let outcome = closing.map(|c| c.judgement.outcome);
        DecisionRow {
            uid: self.uid,
            expected_version: self.expected_version,
            n: closing.map(|c| c.n),
            claim: closing.map(|c| c.claim),
            outcome: outcome.map(Outcome::word),
            detail: outcome.and_then(Outcome::detail),
            retry_after_ms: match outcome {
                Some(Outcome::Throttled { retry_after: Some(d) }) => Some(d.as_millis() as u64),
                _ => None,
            },
            closed_at: closing.map(|c| c.at),
            reference: details.and_then(|d| d.message_id.as_deref()),
            carrier_code: details.and_then(|d| d.carrier_code.as_deref()),
            segments: details.and_then(|d| d.segments),
            price: details.and_then(|d| d.price.as_deref()),
            transition: self.transition.as_ref(),
            destinations: self.destinations,
            keys: self.changes_quota_uses().then_some(&self.keys),
        }
    }
}

/// The result of writing a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteResult {
    /// Everything was written.
    Written,
    /// The version had changed, so only the outcome was written. Holds the current dispatch.
    OutcomeOnly(Box<Dispatch>),
    /// The attempt was closed before, so the transition was not written.
    AlreadyClosed {
        /// Whether the attempt was `Unknown` and this answer proved its acceptance. The row was then updated.
        proved_acceptance: bool,
    },
    /// The version had changed. Holds the current dispatch, or `None` if it was deleted.
    VersionConflict(Option<Box<Dispatch>>),
}
