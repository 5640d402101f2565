//! A dispatch: one order to bring a code or a notice to a number before a time, as the ledger holds it.

pub mod bounds;
mod code;
mod message;
mod number;
mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use code::{BadCode, Code, Kind};
pub use message::{DEFAULT_TEMPLATE, Params, Part, Spoken, Words};
pub use number::{BadNumber, NumberCheck, PhoneNumber};
pub use plan::{BadPlan, Plan};

use crate::domain::attempt::{Attempt, AttemptId, Reason, State};
use crate::domain::channel::Channel;
use crate::domain::words::words;

words! {
    /// Why no further request may begin for a dispatch. The first one stays.
    Stop {
        /// A newer dispatch of the same sign-in was admitted.
        Superseded = "superseded",
        /// Its sender cancelled it.
        Cancel = "cancel",
        /// Its sender saw the code come back.
        Verified = "verified",
    }
}

/// A change of state that the world must hear of. `id` of the event is `<uid>/<version>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The version that the change made; also the event's sequence number.
    pub version: i64,
    /// The new state.
    pub state: State,
    /// When it changed, by the ledger's clock.
    pub at: Timestamp,
    /// The step it is about, counted from 1.
    pub step: u8,
    /// The attempt it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<u16>,
    /// That attempt's channel.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channel: Option<Channel>,
    /// That attempt's carrier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carrier: Option<String>,
    /// Why, in our words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Seconds until a dispatch to this number would be allowed again (`limited` only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_s: Option<u64>,
}

/// A place that a dispatch takes in a quota: `key` is a keyed hash, `at` is distinct within the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Whose quota: hex of a keyed hash.
    pub key: String,
    /// When it was taken, by the ledger's clock.
    pub at: Timestamp,
}

/// What never changes after admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Our own name for it, a `UUIDv7`.
    pub uid: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// The channels, in order.
    pub plan: Plan,
    /// When the code or the notice ends.
    pub expires_at: Timestamp,
    /// Seconds from a step's first begin until the next step is tried; 0: never by time.
    pub fallback_after_s: u32,
    /// The template's name.
    pub template: String,
    /// The language asked for, if any.
    #[serde(default)]
    pub locale: Option<String>,
    /// ISO 3166 country of the number, if its metadata knows one.
    #[serde(default)]
    pub country: Option<String>,
    /// The number as people may see it.
    pub mask: String,
    /// The number, sealed; kept for the ledger's retention.
    pub number: String,
    /// What comes back in events.
    pub tags: BTreeMap<String, String>,
    /// W3C trace context of its sender.
    #[serde(default)]
    pub traceparent: Option<String>,
}

/// A dispatch, as one reading of the ledger saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// What never changes.
    #[serde(flatten)]
    pub order: Order,
    /// Raised by every fact and every conclusion.
    pub version: i64,
    /// Where it stands.
    pub state: State,
    /// Why, where there is a reason.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// The current step, counted from 1; one more than the plan is long: the plan is over.
    pub step: u8,
    /// When the current step became current.
    pub step_at: Timestamp,
    /// How often the current step was put off because no carrier had pace.
    pub snoozes: u16,
    /// When it is put off to, for want of pace.
    #[serde(default)]
    pub snoozed_until: Option<Timestamp>,
    /// Bit n-1 is set when `sent` was made for step n.
    pub told_steps: u8,
    /// Why nothing further may begin.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// The step that its sender asked for before the current one had failed or its time was over.
    #[serde(default)]
    pub asked: Option<u8>,
    /// When a worker must look at it again; none when it is final and nothing is in flight.
    #[serde(default)]
    pub wake_at: Option<Timestamp>,
    /// The code, if it has one, and the params, sealed, until it is final or expired.
    #[serde(default)]
    pub code: Option<String>,
    /// The quota slots it took.
    pub slots: Vec<Slot>,
    /// Whether it still holds them.
    pub slots_held: bool,
    /// When it was admitted.
    pub born_at: Timestamp,
    /// The events that are still to be told.
    pub owed: Vec<Event>,
    /// All attempts so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// The ledger's time of this reading.
    pub now: Timestamp,
}

impl Dispatch {
    /// The attempt that has no outcome yet. There is at most one, and it is the newest.
    pub fn open(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|a| a.outcome.is_none())
    }

    /// The attempts of one step, oldest first.
    pub fn attempts_of(&self, step: u8) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |a| a.step == step)
    }

    /// Our own name for what an attempt sends: its id, or that of the attempt which it repeats at the same carrier.
    pub fn reference_of(&self, attempt: &Attempt) -> String {
        let same = |n: &u16| self.attempts.iter().any(|a| a.n == *n && a.carrier == attempt.carrier);
        let n = attempt.repeats.filter(same).unwrap_or(attempt.n);
        AttemptId { uid: self.order.uid, n }.to_string()
    }

    /// The channel of a step, counted from 1.
    pub fn channel(&self, step: u8) -> Option<Channel> {
        self.order.plan.step(step)
    }

    /// When the current step gives way to the next by time; none where it never does.
    pub fn fallback_at(&self) -> Option<Timestamp> {
        if self.order.fallback_after_s == 0 || usize::from(self.step) >= self.order.plan.len() {
            return None;
        }
        let from = self.attempts_of(self.step).next().map_or(self.step_at, |a| a.begun_at);
        Some(crate::domain::clock::after(from, Duration::from_secs(u64::from(self.order.fallback_after_s))))
    }
}
