//! The decision functions. From a dispatch as read from the ledger, the time and the policy, they compute the transition to
//! write and the request to begin. They are pure.
//!
//! Facts (outcomes, receipts, acts) are written by the component that receives them. The consequences of facts are decided here
//! and nowhere else. A decision is written only if the row still has the expected version (optimistic locking).

mod conclude;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::attempt::{Outcome, Reason, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Dispatch, Event};

pub use conclude::{NoRoom, decide, decide_without_room, give_up, skip_step};

/// Lease of a dispatch that was taken or whose transition begins a request at once. Other workers do not take it meanwhile.
pub const LEASE: Duration = Duration::from_secs(5);
/// Minimum remaining life of a code for a request to begin.
pub const MIN_LIFE: Duration = Duration::from_secs(10);
/// A back-off or snooze ends at least this long before the last moment at which a request may begin.
const LAST_CHANCE_MARGIN: Duration = Duration::from_secs(2);
/// Minimum wait for a receipt after an unknown outcome, counted from the begin.
const WAIT_FROM_BEGIN: Duration = Duration::from_secs(10);
/// Minimum wait for a receipt after any outcome, counted from the close of the attempt.
const WAIT_FROM_CLOSE: Duration = Duration::from_secs(3);
/// Maximum number of requests in one step. Attempts that were throttled, misconfigured or too late do not count
/// ([`Outcome::counts`]).
const MAX_ATTEMPTS_PER_STEP: usize = 5;
/// Maximum number of requests for one dispatch. All attempts count.
const MAX_ATTEMPTS_PER_DISPATCH: usize = 20;

/// Policy for attempts of which it is unknown whether the carrier accepted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownPolicy {
    /// Query the carrier by our reference. If the carrier does not know it, repeat the request there, as with `Idempotent`.
    Lookup,
    /// Repeat the same request with the same reference at once. Only for carriers that recognise a repeat by our reference and drop it.
    Idempotent,
    /// Wait for a receipt, then send the same code once more through the next carrier, or through this one if no other has room.
    Wait,
    /// Never repeat: wait for a receipt, then move to the next step.
    Never,
}

impl UnknownPolicy {
    /// Returns the policy where none is configured. A repeated text does little harm. A repeated call disturbs the user.
    pub fn default_of(channel: Channel, keeps_references: bool) -> Self {
        match channel {
            Channel::Sms if keeps_references => Self::Lookup,
            Channel::Sms => Self::Wait,
            Channel::Voice => Self::Never,
        }
    }
}

/// A carrier that may serve a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The configured name of the carrier.
    pub carrier: String,
    /// The policy for unknown outcomes of this carrier on this channel.
    pub unknown: UnknownPolicy,
    /// Minimum remaining life of a code for a request through this carrier.
    pub min_life: Duration,
}

/// The parts of the configuration on which a decision depends, for one country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Carriers to this country by channel, first choice first.
    pub candidates: BTreeMap<Channel, Vec<Candidate>>,
    /// How long after the code's expiry a receipt is awaited.
    pub receipt_wait: Duration,
}

impl Policy {
    /// Returns the carriers that may serve a channel, first choice first.
    pub fn candidates(&self, channel: Channel) -> &[Candidate] {
        self.candidates.get(&channel).map_or(&[], Vec::as_slice)
    }
}

/// A request to begin: the step, and the carriers that may serve it, first choice first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The step, counted from 1.
    pub step: u8,
    /// The channel of the step.
    pub channel: Channel,
    /// Carriers, in the order in which they are checked for room.
    pub carriers: Vec<String>,
    /// Number of the unknown attempt that this request repeats.
    pub repeats: Option<u16>,
    /// Number of the attempt whose status is queried before the begin: it has no receipt yet, or its acceptance is unknown.
    pub query_status_of: Option<u16>,
}

/// Change of a dispatch's quota uses by a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaChange {
    /// No change.
    Keep,
    /// The uses are returned, because no attempt is accepted or unknown.
    GiveBack,
    /// The uses are taken again, even above the rule, because the message was delivered after all.
    TakeAgain,
}

/// A change of a dispatch's row. It is written only if the row still has the expected version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The version after the transition: one more than before, or one more per event.
    pub version: i64,
    /// Number of the open attempt whose deadline has passed. It becomes `Unknown`.
    pub close: Option<u16>,
    /// The state after the transition.
    pub state: State,
    /// The reason, if the state is final.
    pub reason: Option<Reason>,
    /// The current step after the transition.
    pub step: u8,
    /// When that step became current.
    pub step_at: Timestamp,
    /// How often that step was snoozed because no carrier had room.
    pub snoozes: u16,
    /// End of the current snooze.
    pub snoozed_until: Option<Timestamp>,
    /// Bit n-1 is set when the `sent` event of step n was created.
    pub sent_event_steps: u8,
    /// When a worker must process the dispatch again.
    pub wake_at: Option<Timestamp>,
    /// Whether the sealed code is deleted.
    pub drop_code: bool,
    /// Change of the quota uses.
    pub quota_change: QuotaChange,
    /// The events to publish, in order. The last event has the version of this transition.
    pub events: Vec<Event>,
    /// When the transition was decided, by the ledger's clock.
    pub at: Timestamp,
}

impl Transition {
    /// Applies the transition to `d`, as the ledger applies it to the row.
    pub fn apply(&self, d: &mut Dispatch) {
        d.version = self.version;
        d.state = self.state;
        d.reason = self.reason;
        d.step = self.step;
        d.step_at = self.step_at;
        d.snoozes = self.snoozes;
        d.snoozed_until = self.snoozed_until;
        d.sent_event_steps = self.sent_event_steps;
        d.wake_at = self.wake_at;
        if self.drop_code {
            d.code = None;
        }
        match self.quota_change {
            QuotaChange::Keep => {}
            QuotaChange::GiveBack => d.holds_quota_uses = false,
            QuotaChange::TakeAgain => d.holds_quota_uses = true,
        }
        if let Some(a) = self.close.and_then(|n| d.attempts.iter_mut().find(|a| a.n == n)) {
            a.outcome = Some(Outcome::Unknown);
            a.closed_at = Some(self.at);
        }
    }
}

/// A transition, and the request to begin after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// The transition to write.
    pub transition: Transition,
    /// The request to begin after the write.
    pub begin: Option<Begin>,
}

impl Decision {
    /// Returns whether the write before the begin can be omitted, because the begin itself writes step and deadline.
    pub fn begins_only(&self, dispatch: &Dispatch) -> bool {
        let t = &self.transition;
        self.begin.is_some()
            && t.close.is_none()
            && t.events.is_empty()
            && t.state == dispatch.state
            && t.quota_change == QuotaChange::Keep
            && !t.drop_code
    }
}
