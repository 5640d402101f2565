//! What the ledger has committed about attempts, for the observer of this process.

use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use moka::sync::Cache;
use uuid::Uuid;

use super::items::{DecisionWrite, StopRequest, WriteResult};
use crate::domain::attempt::Outcome;
use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};

/// Number of verified dispatches that are remembered, so that repeated feedback counts once.
const MAX_VERIFIED: u64 = 100_000;
/// How long they are remembered.
const VERIFIED_MEMORY: Duration = Duration::from_secs(3600);

/// Gets each fact after its commit was answered. It must not block.
pub type FactObserver = Box<dyn Fn(&AttemptFact) + Send + Sync>;

pub(super) struct Facts {
    observer: OnceLock<FactObserver>,
    verified: Cache<(String, Uuid), ()>,
}

impl Default for Facts {
    fn default() -> Self {
        let verified = Cache::builder().max_capacity(MAX_VERIFIED).time_to_live(VERIFIED_MEMORY).build();
        Self { observer: OnceLock::new(), verified }
    }
}

impl Facts {
    /// Sets the observer. Later calls change nothing.
    pub(super) fn observe(&self, observer: FactObserver) {
        let _ = self.observer.set(observer);
    }

    pub(super) fn publish(&self, facts: impl IntoIterator<Item = AttemptFact>) {
        if let Some(observer) = self.observer.get() {
            for fact in facts {
                observer(&fact);
            }
        }
    }

    /// Publishes the fact that follows from a written decision.
    pub(super) fn publish_decision(&self, write: &DecisionWrite, result: &WriteResult, now: Timestamp) {
        if self.observer.get().is_some() {
            self.publish(of_decision(write, result, now));
        }
    }

    /// Publishes that a code was verified, once.
    pub(super) fn publish_verified(&self, request: &StopRequest, fact: Option<AttemptFact>) {
        let Some(fact) = fact else { return };
        let entry = self.verified.entry((request.tenant.clone(), request.id)).or_insert(());
        if entry.is_fresh() {
            self.publish([fact]);
        }
    }
}

fn of_decision(write: &DecisionWrite, result: &WriteResult, now: Timestamp) -> Option<AttemptFact> {
    let attempt = |n: u16| write.seen.attempts.iter().find(|attempt| attempt.n == n);
    let answered = |n, outcome, segments, code, at| {
        let attempt = attempt(n)?;
        let event = AttemptEvent::Answered { outcome, segments, is_repeat: attempt.repeats.is_some(), code };
        Some(AttemptFact::new(&write.seen, attempt, at, event))
    };
    match (result, &write.outcome, &write.transition) {
        (WriteResult::Written | WriteResult::OutcomeOnly(_), Some(outcome), _) => {
            let judgement = &outcome.judgement;
            let code = judgement.details.carrier_code.clone();
            answered(outcome.n, judgement.outcome, judgement.details.segments, code, outcome.at)
        }
        (WriteResult::Written, None, Some(transition)) => {
            answered(transition.close?, Outcome::Unknown, None, None, transition.at)
        }
        (WriteResult::AlreadyClosed { proved_acceptance: true }, Some(outcome), _) => {
            let event = AttemptEvent::Accepted { was_unknown: true };
            Some(AttemptFact::new(&write.seen, attempt(outcome.n)?, now, event))
        }
        _ => None,
    }
}
