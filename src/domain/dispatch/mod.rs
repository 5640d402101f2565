//! A dispatch: the order to deliver one code or one notice to one number before a time, as stored in the ledger.

pub mod bounds;
mod code;
mod country;
mod handset;
mod message;
mod number;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use code::{BadCode, Code, Kind};
pub use country::{BadCountry, Country};
pub use message::{DEFAULT_TEMPLATE, Params, Part, RenderedMessage, Spoken};
pub use number::{BadNumber, Metadata, NumberCheck, NumberKind, NumberProblem, PhoneNumber};
pub use plan::{BadPlan, Plan};

use crate::domain::attempt::{Attempt, AttemptId, Reason, State};
use crate::domain::channel::Channel;
use crate::domain::words::words;

words! {
    /// Why no further request may begin for a dispatch. The first stop stays.
    Stop {
        /// A newer dispatch of the same sign-in was admitted.
        Superseded = "superseded",
        /// Its sender cancelled it.
        Cancel = "cancel",
        /// The sender reported the code as verified.
        Verified = "verified",
    }
}

/// A change of state that is published. The `id` of the event is `<uid>/<version>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The version of the dispatch after the change. It is also the event's sequence number.
    pub version: i64,
    /// The new state.
    pub state: State,
    /// When the state changed, by the ledger's clock.
    pub at: Timestamp,
    /// The step that the event is about, counted from 1.
    pub step: u8,
    /// Number of the attempt that the event is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<u16>,
    /// The channel of that attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channel: Option<Channel>,
    /// The configured carrier of that attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carrier: Option<String>,
    /// The reason of the new state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Seconds until a dispatch to this number would be allowed again (`limited` only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_s: Option<u64>,
}

/// A quota use of a dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUse {
    /// The key of the quota: hex of a keyed hash.
    pub key: String,
    /// When the use was taken, by the ledger's clock. Distinct within the key.
    pub at: Timestamp,
}

/// The part of a dispatch that never changes after admission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Our id of the dispatch, a `UUIDv7`.
    pub uid: Uuid,
    /// The tenant that owns the dispatch.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The channels, in order.
    pub plan: Plan,
    /// When the code or the notice expires.
    pub expires_at: Timestamp,
    /// Seconds from a step's first begin until the next step is tried, or from the step's start, if it found no carrier with
    /// room. 0 disables the fallback.
    pub fallback_after_s: u32,
    /// The template's name.
    pub template: String,
    /// The requested language, if any.
    #[serde(default)]
    pub locale: Option<String>,
    /// ISO 3166 country of the number, if its metadata contains one.
    #[serde(default)]
    pub country: Option<String>,
    /// The masked number.
    pub mask: String,
    /// The sealed number, kept for the ledger's retention time.
    pub number: String,
    /// Tags of the sender, returned in events.
    pub tags: BTreeMap<String, String>,
    /// W3C trace context of the sender.
    #[serde(default)]
    pub traceparent: Option<String>,
}

impl Order {
    /// The trace id of the sender's trace context: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<&str> {
        trace_id(self.traceparent.as_deref()?)
    }
}

/// The trace id of a W3C trace context.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1)
}

/// A dispatch as read from the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The part that never changes.
    #[serde(flatten)]
    pub order: Arc<Order>,
    /// Incremented by every fact and every decision.
    pub version: i64,
    /// The current state.
    pub state: State,
    /// The reason of the state, if it has one.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// The current step, counted from 1. The length of the plan plus 1 means that the plan has ended.
    pub step: u8,
    /// When the current step became current.
    pub step_at: Timestamp,
    /// How often the current step was snoozed because no carrier had room.
    pub snoozes: u16,
    /// End of the current snooze.
    #[serde(default)]
    pub snoozed_until: Option<Timestamp>,
    /// Bit n-1 is set when the `sent` event of step n was created.
    pub sent_event_steps: u8,
    /// Why no further request may begin.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// The step that the sender requested with `next`. It waits for no failure and no fallback time.
    #[serde(default)]
    pub requested_step: Option<u8>,
    /// When a worker must process the dispatch again; `None` if it is final and no attempt is open.
    #[serde(default)]
    pub wake_at: Option<Timestamp>,
    /// The code (if any) and the params, sealed. Deleted when the dispatch is final or expired.
    #[serde(default)]
    pub code: Option<String>,
    /// The quota uses that the dispatch took.
    pub quota_uses: Vec<QuotaUse>,
    /// Whether the dispatch still holds its quota uses.
    pub holds_quota_uses: bool,
    /// When the dispatch was admitted.
    pub admitted_at: Timestamp,
    /// All attempts so far, oldest first.
    pub attempts: Vec<Attempt>,
    /// The ledger's time at which the row was read.
    pub now: Timestamp,
}

impl Dispatch {
    /// Returns the attempt that has no outcome yet. There is at most one, and it is the newest.
    pub fn open_attempt(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|a| a.outcome.is_none())
    }

    /// Returns the attempts of one step, oldest first.
    pub fn attempts_of(&self, step: u8) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |a| a.step == step)
    }

    /// Returns our reference for an attempt: its id, or the id of the attempt that it repeats at the same carrier.
    pub fn reference_of(&self, attempt: &Attempt) -> String {
        let same = |n: &u16| self.attempts.iter().any(|a| a.n == *n && a.carrier == attempt.carrier);
        let n = attempt.repeats.filter(same).unwrap_or(attempt.n);
        AttemptId { uid: self.order.uid, n }.to_string()
    }

    /// Returns the channel of a step, counted from 1.
    pub fn channel(&self, step: u8) -> Option<Channel> {
        self.order.plan.step(step)
    }

    /// Returns the fallback time of the current step, or `None` if it has none.
    pub fn fallback_at(&self) -> Option<Timestamp> {
        if self.order.fallback_after_s == 0 || usize::from(self.step) >= self.order.plan.len() {
            return None;
        }
        let from = self.attempts_of(self.step).next().map_or(self.step_at, |a| a.begun_at);
        Some(crate::domain::clock::after(from, Duration::from_secs(u64::from(self.order.fallback_after_s))))
    }
}
