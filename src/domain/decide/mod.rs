//! What follows. One pure function: from a dispatch as the ledger holds it, the time, and the policy, to the
//! transition that is to be written and the request that is to be begun.
//!
//! Facts (outcomes, receipts, marks) are written by whoever learns them. Everything that *follows* from facts is
//! decided here and nowhere else, and is written only where the row is still the one that was looked at.

mod conclude;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::attempt::{Outcome, Reason, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Dispatch, Event};
use crate::domain::words::words;

pub use conclude::{give_up, next, skip_step, snooze};

/// How long a take, and a transition "begin at once", keep others away.
pub const LEASE: Duration = Duration::from_secs(5);
/// The least life with which a request may begin.
pub const MIN_LIFE: Duration = Duration::from_secs(10);
/// A back-off or snooze ends at least this long before a request could no longer begin.
const LAST_CHANCE_MARGIN: Duration = Duration::from_secs(2);
/// After an unknown outcome a receipt is awaited until this long after the begin,
const WAIT_FROM_BEGIN: Duration = Duration::from_secs(10);
/// and, as after any outcome, at least this long after the attempt was closed.
const WAIT_FROM_CLOSE: Duration = Duration::from_secs(3);
/// Requests that one step may make; those that the carrier only put off do not count.
const MAX_ATTEMPTS: usize = 5;
/// Requests that one dispatch may make, all counted.
const HARD_STOP: usize = 20;

/// What is done when nobody knows whether a carrier took a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// The carrier is asked about it by our reference; what it does not know of goes to it again, as with `Idempotent`.
    Lookup,
    /// The same request with the same reference at once; only where the carrier drops repeats by it.
    Idempotent,
    /// Wait for a receipt, then the same code once more through the next carrier, or this one if it is alone.
    Wait,
    /// No repeat: wait for a receipt, then the next step.
    Never,
}

/// A carrier that may serve a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its configured name.
    pub carrier: String,
    /// What its unknown outcomes lead to, on this channel.
    pub unknown: UnknownPolicy,
    /// The least life a code must have to be sent through it.
    pub min_life: Duration,
}

/// What is configured, as far as it decides what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Who may carry texts to this country, first choice first.
    pub sms: Vec<Candidate>,
    /// Who may carry calls.
    pub voice: Vec<Candidate>,
    /// How long after the code's end a receipt is awaited.
    pub receipt_wait: Duration,
}

impl Policy {
    /// Who may serve a channel, first choice first.
    pub fn candidates(&self, channel: Channel) -> &[Candidate] {
        match channel {
            Channel::Sms => &self.sms,
            Channel::Voice => &self.voice,
        }
    }
}

/// A request that is to be begun: the step, and who may take it, first choice first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The step, counted from 1.
    pub step: u8,
    /// Its channel.
    pub channel: Channel,
    /// Carriers, in the order in which they are to be asked for room.
    pub carriers: Vec<String>,
    /// The unknown attempt that this one repeats.
    pub repeats: Option<u16>,
    /// The carrier is asked first what became of this attempt: nothing was heard of it, or nobody knows whether it was
    /// accepted.
    pub ask: Option<u16>,
}

words! {
    /// What becomes of the quota slots with a transition.
    Slots {
        /// They stay as they are.
        Keep = "keep",
        /// Nothing was accepted or is unknown: they are given back.
        GiveBack = "give_back",
        /// It was delivered after all: they are taken again, even above the rule.
        TakeAgain = "take_again",
    }
}

/// What is to be written where the row's version is still the one that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// The version after it: one more, or one more for each event.
    pub version: i64,
    /// This open attempt's deadline has passed: it becomes `Unknown`.
    pub close: Option<u16>,
    /// The state after it.
    pub state: State,
    /// Why, for a final state.
    pub reason: Option<Reason>,
    /// The step after it.
    pub step: u8,
    /// When that step became current.
    pub step_at: Timestamp,
    /// How often that step was put off for want of pace.
    pub snoozes: u16,
    /// Until when.
    pub snoozed_until: Option<Timestamp>,
    /// Steps whose `sent` was made.
    pub told_steps: u8,
    /// When to look again.
    pub wake_at: Option<Timestamp>,
    /// The sealed code is deleted.
    pub drop_code: bool,
    /// The quota.
    pub slots: Slots,
    /// What the world must hear, in order; the last one's version is this one's.
    pub events: Vec<Event>,
    /// When it was concluded, by the ledger's clock.
    pub at: Timestamp,
}

impl Transition {
    /// The dispatch after it was written.
    pub fn apply(&self, d: &mut Dispatch) {
        d.version = self.version;
        d.state = self.state;
        d.reason = self.reason;
        d.step = self.step;
        d.step_at = self.step_at;
        d.snoozes = self.snoozes;
        d.snoozed_until = self.snoozed_until;
        d.told_steps = self.told_steps;
        d.wake_at = self.wake_at;
        if self.drop_code {
            d.code = None;
        }
        match self.slots {
            Slots::Keep => {}
            Slots::GiveBack => d.slots_held = false,
            Slots::TakeAgain => d.slots_held = true,
        }
        if let Some(a) = self.close.and_then(|n| d.attempts.iter_mut().find(|a| a.n == n)) {
            a.outcome = Some(Outcome::Unknown);
            a.closed_at = Some(self.at);
        }
    }
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What is to be written.
    pub transition: Transition,
    /// What is to be begun after that.
    pub begin: Option<Begin>,
}

impl Decision {
    /// Whether nothing is to be written before the begin: the begin itself carries step and deadline.
    pub fn begins_only(&self, seen: &Dispatch) -> bool {
        let c = &self.transition;
        self.begin.is_some()
            && c.close.is_none()
            && c.events.is_empty()
            && c.state == seen.state
            && c.slots == Slots::Keep
            && !c.drop_code
    }
}
