//! Admission of a job.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::begin::NewAttempt;
use super::limit::{FullQuota, Limit};
use super::outbox::Destinations;
use crate::domain::attempt::{Reason, State};
use crate::domain::dispatch::{Dispatch, Order, QuotaUse};

/// A refusal that is known before the ledger is queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// `refused` or `expired`.
    pub state: State,
    /// The reason of the refusal.
    pub reason: Reason,
}

/// The writes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRefusal {
    /// A final row and its event.
    StoreRow,
    /// The event only. The id stays free.
    PublishOnly,
    /// Nothing. The id stays free, and the caller gets the answer.
    AnswerOnly,
}

/// A job to admit.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The immutable part of the dispatch.
    pub order: Arc<Order>,
    /// Keyed hash of the job's content, for comparing jobs with the same id.
    pub content: String,
    /// Keyed hash of the phone number.
    pub number_key: String,
    /// The sealed code.
    pub code: String,
    /// The quotas of the phone number: the tenant's, then the operator's.
    pub limits: Vec<Limit>,
    /// The quota of the first step's channel. Set when the channel has one and the step begins at once.
    pub channel_limit: Option<Limit>,
    /// The refusal, if the job is refused before the ledger is queried.
    pub refusal: Option<Refusal>,
    /// The writes of a refusal.
    pub on_refusal: OnRefusal,
    /// Keyed hash of the sign-in, and the time at which the caller issued the code.
    pub supersedes: Option<(String, Timestamp)>,
    /// The first attempt. Set when an account has room and the message was rendered.
    pub attempt: Option<NewAttempt>,
    /// The first snooze. Set when no account has room.
    pub snooze: Option<Duration>,
    /// Where the events of the dispatch are published.
    pub destinations: Destinations,
}

impl Admission {
    /// Returns the first step whose channel differs from that of step 1, or the number of steps plus 1 if there is none.
    pub(in crate::ledger) fn skip_to(&self) -> u8 {
        let plan = &self.order.plan;
        (2..plan.end_step()).find(|s| plan.step(*s) != plan.step(1)).unwrap_or(plan.end_step())
    }

    /// Turns the job into an expired one, because it waited too long for admission. No attempt begins.
    pub fn expire(&mut self) {
        self.refusal = Some(Refusal { state: State::Expired, reason: Reason::Life });
        self.remove_attempt();
        self.snooze = None;
    }

    /// Removes the first attempt, because the job waited too long for it. A worker begins an attempt after the admission.
    pub fn remove_attempt(&mut self) {
        (self.attempt, self.channel_limit) = (None, None);
    }

    /// The dispatch that was inserted with its first attempt, if the job has one. Call it only after an answer with state `sending`.
    pub fn inserted(&self, now: Timestamp, quota_uses: Vec<QuotaUse>) -> Option<Dispatch> {
        let attempt = self.attempt.as_ref()?.begun(1, 1, now);
        Some(Dispatch {
            order: Arc::clone(&self.order),
            version: 1,
            state: State::Sending,
            reason: None,
            step: 1,
            step_at: now,
            snoozes: 0,
            snoozed_until: None,
            sent_event_steps: 0,
            stop: None,
            requested_step: None,
            wake_at: Some(attempt.deadline),
            code: Some(self.code.clone()),
            holds_quota_uses: !quota_uses.is_empty(),
            quota_uses,
            admitted_at: now,
            attempts: vec![attempt],
            now,
        })
    }
}

/// The result of an admission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmissionResult {
    /// A row was inserted, in state `sending`, `queued`, or the state of a stored refusal.
    Inserted {
        /// The state of the new row.
        state: State,
        /// The reason of a refusal.
        reason: Option<Reason>,
        /// The recorded quota uses.
        quota_uses: Vec<QuotaUse>,
        /// The ledger's clock.
        now: Timestamp,
        /// Seconds until the quota has room again.
        retry_after_s: Option<u64>,
        /// The rule that refused the job.
        full: Option<FullQuota>,
        /// Older dispatches of the same sign-in, which this job stopped.
        superseded: Vec<Uuid>,
    },
    /// The job was refused and no row was inserted.
    Refused {
        /// The state that the dispatch would have.
        state: State,
        /// The reason of the refusal.
        reason: Reason,
        /// Seconds until the quota has room again.
        retry_after_s: Option<u64>,
        /// The rule that refused the job.
        full: Option<FullQuota>,
    },
    /// A dispatch with the same id and content exists.
    Known {
        /// The dispatch's uid.
        uid: Uuid,
        /// The dispatch's state. `None` if this version does not know it.
        state: Option<State>,
        /// The dispatch's version.
        version: i64,
        /// Whether its open attempt has the claim of this job: an earlier run of the same group was committed.
        has_our_claim: bool,
    },
    /// A dispatch with the same id and other content exists.
    Conflict,
}
