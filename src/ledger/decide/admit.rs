//! Admission of a job: it is known, refused, or inserted with its quota uses.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::Quotas;
use super::write::mark;
use crate::domain::attempt::{Reason, State};
use crate::domain::clock::after;
use crate::domain::dispatch::{Dispatch, Event, Stop};
use crate::domain::quota;
use crate::ledger::items::{Admission, AdmissionResult, FullQuota, Limit, OnRefusal, QuotaOwner};

/// Maximum number of dispatches of a sign-in that an admission looks at, the newest first.
pub const MAX_SAME_SIGN_IN: usize = 64;

/// A row with the job's tenant and id.
#[derive(Debug)]
pub struct KnownRow {
    /// Our id of the dispatch.
    pub uid: Uuid,
    /// Keyed hash of its content.
    pub content: String,
    /// Its state. `None` if this version does not know it.
    pub state: Option<State>,
    /// Its version.
    pub version: i64,
    /// The claim of its open attempt.
    pub open_claim: Option<Uuid>,
}

/// Other dispatches of the job's sign-in, by `supersedes` and `issued_at`.
#[derive(Debug, Default)]
pub struct SameSignIn {
    /// Whether a newer one was admitted.
    pub newer_exists: bool,
    /// The older ones that are neither final nor stopped. An admission stops them.
    pub older: Vec<Dispatch>,
}

impl SameSignIn {
    /// Chooses among the dispatches of a sign-in, each with its `issued_at`. `this` is the job's `issued_at` and id, which order the
    /// jobs of a sign-in. A dispatch that was refused does not count: its row was final from the beginning.
    pub fn of<'d>(this: (Timestamp, Uuid), rows: impl Iterator<Item = (Timestamp, &'d Dispatch)>) -> Self {
        let mut same = Self::default();
        for (issued_at, d) in rows {
            let other = (issued_at, d.order.id);
            let was_refused = d.state.is_final() && d.version == 1;
            if other > this && !was_refused {
                same.newer_exists = true;
            } else if other < this && d.stop.is_none() && !d.state.is_final() {
                same.older.push(d.clone());
            }
        }
        same
    }
}

/// The decision on a new job.
#[derive(Debug)]
pub struct AdmissionDecision {
    /// The answer to the caller.
    pub result: AdmissionResult,
    /// The row to insert.
    pub row: Option<Dispatch>,
    /// The events to publish.
    pub events: Vec<Event>,
}

/// Answers a job whose id has a row. No limit is checked.
pub fn answer_known(job: &Admission, known: &KnownRow) -> AdmissionResult {
    if known.content != job.content {
        return AdmissionResult::Conflict;
    }
    let has_our_claim = job.attempt.as_ref().is_some_and(|a| known.open_claim == Some(a.claim));
    AdmissionResult::Known { uid: known.uid, state: known.state, version: known.version, has_our_claim }
}

/// Decides on a job whose id has no row. Takes the quota uses, and stops the older dispatches of the sign-in.
pub fn admit(
    job: &Admission, same_sign_in: &mut SameSignIn, quotas: &mut Quotas, now: Timestamp,
) -> AdmissionDecision {
    let mut d = job.queued(now);
    let (mut retry_after_s, mut full) = (None, None);
    if let Some(refusal) = job.refusal {
        (d.state, d.reason) = (refusal.state, Some(refusal.reason));
    } else if same_sign_in.newer_exists {
        (d.state, d.reason) = (State::Superseded, Some(Reason::Newer));
    } else {
        retry_after_s = take_quotas(job, &mut d, quotas, now);
        full = retry_after_s.and_then(|_| full_quota(job, &d, quotas, now));
    }
    let refused = d.state.is_final();
    let mut events = vec![];
    let mut superseded = vec![];
    if refused {
        (d.wake_at, d.code) = (None, None);
        if job.on_refusal != OnRefusal::AnswerOnly {
            events.push(refusal_event(&d, retry_after_s));
        }
        if job.on_refusal != OnRefusal::StoreRow {
            let reason = d.reason.unwrap_or(Reason::Quota);
            let result = AdmissionResult::Refused { state: d.state, reason, retry_after_s, full };
            return AdmissionDecision { result, row: None, events };
        }
    } else {
        for older in &mut same_sign_in.older {
            mark(older, Stop::Superseded, now);
            superseded.push(older.order.uid);
        }
    }
    let (state, reason, quota_uses) = (d.state, d.reason, d.quota_uses.clone());
    let result =
        AdmissionResult::Inserted { state, reason, quota_uses, now, retry_after_s, full, superseded };
    AdmissionDecision { result, row: Some(d), events }
}

/// Returns the rule that refused a job.
fn full_quota(job: &Admission, d: &Dispatch, quotas: &Quotas, now: Timestamp) -> Option<FullQuota> {
    if d.reason == Some(Reason::VoiceQuota) {
        return quotas.full(job.channel_limit.iter().map(|limit| (QuotaOwner::Channel, limit)), now);
    }
    // The tenant's quota is the first one.
    let owners = std::iter::once(QuotaOwner::Number).chain(std::iter::repeat(QuotaOwner::Operator));
    quotas.full(owners.zip(&job.limits), now)
}

/// Takes the quota uses and sets the state of the new row: `sending`, `queued` or `limited`. Returns the seconds until a full quota
/// has room.
fn take_quotas(job: &Admission, d: &mut Dispatch, quotas: &mut Quotas, now: Timestamp) -> Option<u64> {
    let limits: Vec<&Limit> = job.limits.iter().collect();
    let number_has_room = limits.iter().all(|limit| quotas.free_at(limit, now).is_none());
    let channel_wait = job.channel_limit.as_ref().and_then(|limit| quotas.free_at(limit, now));
    let skip_to = job.skip_to();
    if let Some(until) = channel_wait.filter(|_| number_has_room && skip_to >= job.order.plan.end_step()) {
        (d.state, d.reason, d.step) = (State::Limited, Some(Reason::VoiceQuota), skip_to);
        return Some(quota::retry_after_s(now, until));
    }
    let with_channel = job.channel_limit.iter().filter(|_| channel_wait.is_none());
    match quotas.take(&limits.into_iter().chain(with_channel).collect::<Vec<_>>(), now) {
        Err(wait) => {
            (d.state, d.reason) = (State::Limited, Some(Reason::Quota));
            return Some(wait);
        }
        Ok(taken) => {
            d.holds_quota_uses = !taken.is_empty();
            d.quota_uses = taken;
        }
    }
    match &job.attempt {
        Some(attempt) if channel_wait.is_none() => {
            let attempt = attempt.begun(1, 1, now);
            (d.state, d.wake_at) = (State::Sending, Some(attempt.deadline));
            d.attempts.push(attempt);
        }
        // The channel's quota is full: the dispatch begins with the first step on another channel.
        _ if channel_wait.is_some() => d.step = skip_to,
        _ => {}
    }
    None
}

fn refusal_event(d: &Dispatch, retry_after_s: Option<u64>) -> Event {
    Event {
        version: 1,
        state: d.state,
        at: d.now,
        step: d.step.min(d.order.plan.len() as u8),
        attempt: None,
        channel: None,
        carrier: None,
        reason: d.reason,
        retry_after_s,
    }
}

impl Admission {
    /// The new dispatch in state `queued`, without an attempt.
    fn queued(&self, now: Timestamp) -> Dispatch {
        let snoozed_until = self.snooze.map(|s| after(now, s));
        Dispatch {
            order: Arc::clone(&self.order),
            version: 1,
            state: State::Queued,
            reason: None,
            step: 1,
            step_at: now,
            snoozes: u16::from(snoozed_until.is_some()),
            snoozed_until,
            sent_event_steps: 0,
            stop: None,
            requested_step: None,
            wake_at: Some(snoozed_until.unwrap_or(now)),
            code: Some(self.code.clone()),
            quota_uses: vec![],
            holds_quota_uses: false,
            admitted_at: now,
            attempts: vec![],
            now,
        }
    }
}
