//! The write of a decision: an outcome with its transition, or only a transition.

use jiff::Timestamp;
use uuid::Uuid;

use super::lost_commit::LostCommit;
use super::outbox::Destinations;
use crate::domain::attempt::Judgement;
use crate::domain::decide::{QuotaChange, Transition};
use crate::domain::dispatch::Dispatch;

/// The write of a decision: an attempt's outcome with the transition that follows from it, or only a transition.
#[derive(Debug, Clone)]
pub struct DecisionWrite {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The row that the decision was made on.
    pub seen: Dispatch,
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

impl DecisionWrite {
    /// An outcome with the transition that follows from it.
    pub fn with_outcome(
        seen: Dispatch, outcome: AttemptOutcome, transition: Option<Transition>, destinations: Destinations,
    ) -> Self {
        Self { outcome: Some(outcome), ..Self::of(seen, transition, destinations) }
    }

    /// A transition without an outcome.
    pub fn transition_only(seen: Dispatch, transition: Transition, destinations: Destinations) -> Self {
        Self::of(seen, Some(transition), destinations)
    }

    fn of(seen: Dispatch, transition: Option<Transition>, destinations: Destinations) -> Self {
        let keys = seen.quota_uses.iter().map(|used| used.key.clone()).collect();
        Self { uid: seen.order.uid, seen, outcome: None, transition, destinations, keys }
    }

    /// Whether the deadline of the attempt has passed, or no attempt is open.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.seen.open_attempt().is_none_or(|attempt| attempt.deadline <= now)
    }

    /// Whether the write changes quota uses and must lock the quotas.
    pub(in crate::ledger) fn changes_quota_uses(&self) -> bool {
        self.transition.as_ref().is_some_and(|c| c.quota_change != QuotaChange::Keep)
    }
}

/// The result of writing a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteResult {
    /// Everything was written.
    Written,
    /// Only the outcome was written: the version had changed, or the write had no transition. Holds the current dispatch.
    OutcomeOnly(Box<Dispatch>),
    /// No open attempt has this claim. An earlier run of the same write may have closed it, with its transition.
    AlreadyClosed {
        /// Whether the attempt was `Unknown` and this answer proved its acceptance. The row was then updated.
        proved_acceptance: bool,
    },
    /// The version had changed. Holds the current dispatch.
    VersionConflict(Box<Dispatch>),
    /// The ledger has lost the row that the decision was made on, or a change of it. An outcome is written if its attempt exists.
    CommitLost(LostCommit),
}
