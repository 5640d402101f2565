//! A job that wants in.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::begin::NewAttempt;
use super::outbox::Destinations;
use crate::domain::attempt::{Reason, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Dispatch, Order, Slot};
use crate::domain::quota::Rule;

/// A quota that a job takes a slot in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// A keyed hash of what is counted.
    pub key: String,
    /// The rules, all of which must have room.
    pub rules: Vec<Rule>,
}

impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = s.serialize_struct("Limit", 2)?;
        out.serialize_field("key", &self.key)?;
        let rules: Vec<(u32, u64)> = self.rules.iter().map(|r| (r.count, r.window.as_secs())).collect();
        out.serialize_field("rules", &rules)?;
        out.end()
    }
}

/// Why a job is not to be sent, known before the ledger is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// `refused` or `expired`.
    pub state: State,
    /// Why.
    pub reason: Reason,
}

/// A job that wants in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// What never changes.
    pub order: Order,
    /// Keyed hash of its content.
    pub content: String,
    /// Keyed hash of the number.
    pub number_key: String,
    /// The sealed code.
    pub code: String,
    /// The quotas of the number: its tenant's, then the operator's.
    pub limits: Vec<Limit>,
    /// The quota of calls, when the first step is one and begins at once.
    pub voice: Option<Limit>,
    /// Refused before the ledger is asked.
    pub refusal: Option<Refusal>,
    /// Whether a refusal becomes a row (AMQP) or leaves the id free (HTTP).
    pub keep_refusal: bool,
    /// Keyed hash of the sign-in, and when the caller made the code.
    pub supersedes: Option<(String, Timestamp)>,
    /// The first attempt, where a carrier has room.
    pub attempt: Option<NewAttempt>,
    /// No carrier had room: the first snooze.
    pub snooze: Option<Duration>,
    /// Whom a final state is owed to.
    pub destinations: Destinations,
}

/// An admission as its column set knows it.
#[derive(Debug, Serialize)]
pub(in crate::ledger) struct AdmissionRow<'a> {
    #[serde(flatten)]
    order: &'a Order,
    content: &'a str,
    number_key: &'a str,
    code: &'a str,
    limits: &'a [Limit],
    voice: &'a Option<Limit>,
    refusal: Option<State>,
    refusal_reason: Option<Reason>,
    keep_refusal: bool,
    supersedes: Option<&'a str>,
    issued_at: Option<Timestamp>,
    attempt: &'a Option<NewAttempt>,
    skip_to: u8,
    plan_over: u8,
    snooze_ms: Option<u64>,
    #[serde(flatten)]
    destinations: Destinations,
}

impl Admission {
    /// The first step after the first that is no call; one more than the plan is long when there is none.
    pub(in crate::ledger) fn skip_to(&self) -> u8 {
        let plan = &self.order.plan;
        (2..plan.over()).find(|s| plan.step(*s) != Some(Channel::Voice)).unwrap_or(plan.over())
    }

    pub(in crate::ledger) fn row(&self) -> AdmissionRow<'_> {
        AdmissionRow {
            order: &self.order,
            content: &self.content,
            number_key: &self.number_key,
            code: &self.code,
            limits: &self.limits,
            voice: &self.voice,
            refusal: self.refusal.map(|r| r.state),
            refusal_reason: self.refusal.map(|r| r.reason),
            keep_refusal: self.keep_refusal,
            supersedes: self.supersedes.as_ref().map(|(k, _)| k.as_str()),
            issued_at: self.supersedes.as_ref().map(|(_, at)| *at),
            attempt: &self.attempt,
            skip_to: self.skip_to(),
            plan_over: self.order.plan.over(),
            snooze_ms: self.snooze.map(|s| s.as_millis() as u64),
            destinations: self.destinations,
        }
    }

    /// The step that a refusal is about.
    pub fn refused_step(&self, reason: Option<Reason>) -> u8 {
        let step = if reason == Some(Reason::VoiceQuota) { self.skip_to() } else { 1 };
        step.min(self.order.plan.len() as u8)
    }

    /// It waited for too long: it is taken in as expired, and nothing is begun.
    pub fn expire(&mut self) {
        self.refusal = Some(Refusal { state: State::Expired, reason: Reason::Life });
        self.begin_nothing();
        self.snooze = None;
    }

    /// It waited for too long for the carrier that had room: it is taken in, and whoever takes it finds another.
    pub fn begin_nothing(&mut self) {
        (self.attempt, self.voice) = (None, None);
    }

    /// The dispatch that was born `sending` with the first attempt in it.
    pub fn born(&self, now: Timestamp, slots: Vec<Slot>) -> Option<Dispatch> {
        let attempt = self.attempt.as_ref()?.begun(1, 1, now);
        Some(Dispatch {
            order: self.order.clone(),
            version: 1,
            state: State::Sending,
            reason: None,
            step: 1,
            step_at: now,
            snoozes: 0,
            snoozed_until: None,
            told_steps: 0,
            stop: None,
            asked: None,
            wake_at: Some(attempt.deadline),
            code: Some(self.code.clone()),
            slots_held: !slots.is_empty(),
            slots,
            born_at: now,
            owed: vec![],
            attempts: vec![attempt],
            now,
        })
    }
}

/// What became of a job that wanted in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Admitted {
    /// A row was made, in this state: `sending`, `queued`, or a refusal that is kept.
    Born {
        /// Its state.
        state: State,
        /// Why, for a refusal.
        reason: Option<Reason>,
        /// The slots it took.
        slots: Vec<Slot>,
        /// The ledger's clock.
        now: Timestamp,
        /// Seconds until the number has room again.
        retry_after_s: Option<u64>,
        /// Older dispatches of the same sign-in that were stopped by it.
        superseded: Vec<Uuid>,
    },
    /// Refused, and no row was made.
    Refused {
        /// The state it would have.
        state: State,
        /// Why.
        reason: Reason,
        /// Seconds until the number has room again.
        retry_after_s: Option<u64>,
    },
    /// The id is known, with the same content: nothing new.
    Known {
        /// Our name for it.
        uid: Uuid,
        /// Its state.
        state: State,
        /// Its version.
        version: i64,
        /// Its open attempt has this very claim: an earlier run of this group came through.
        mine: bool,
    },
    /// The id is known with other content.
    Conflict,
}
