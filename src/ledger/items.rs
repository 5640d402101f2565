//! What is asked of the ledger, and what it answers.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempt::{Attempt, Judgement, Outcome, Reason, Receipt, State};
use crate::dispatch::{Channel, Dispatch, Event, Order, Slot, Stop};
use crate::next::{Conclusion, Slots};
use crate::quota::Rule;

/// The time from handing a begin to the ledger until the request must be in the client's hands, and as much again
/// for what comes after: both are part of an attempt's deadline.
pub(crate) const BEGIN_TO_SEND: Duration = Duration::from_secs(3);
/// The time that is left for `finish` after a carrier's whole time-out.
const SEND_TO_FINISH: Duration = Duration::from_secs(2);

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

/// A request that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewAttempt {
    /// Its channel.
    pub channel: Channel,
    /// Its carrier.
    pub carrier: String,
    /// 16 random bytes of ours.
    pub claim: Uuid,
    /// From the ledger's now until the attempt becomes `Unknown`, in ms: 3 s + the carrier's whole time-out + 2 s.
    pub deadline_ms: u64,
    /// The unknown attempt that it repeats.
    pub repeats: Option<u16>,
}

impl NewAttempt {
    /// An attempt at a carrier whose whole time-out is known, with a claim of its own.
    pub fn new(channel: Channel, carrier: &str, time_out: Duration, repeats: Option<u16>) -> Self {
        let deadline = BEGIN_TO_SEND + time_out + SEND_TO_FINISH;
        Self {
            channel,
            carrier: carrier.to_owned(),
            claim: Uuid::from_bytes(crate::seal::random()),
            deadline_ms: deadline.as_millis() as u64,
            repeats,
        }
    }

    /// The attempt as it stands when the ledger has committed it.
    pub fn begun(&self, n: u16, step: u8, now: Timestamp) -> Attempt {
        Attempt {
            n,
            step,
            channel: self.channel,
            carrier: self.carrier.clone(),
            claim: self.claim,
            repeats: self.repeats,
            begun_at: now,
            deadline: crate::clock::after(now, Duration::from_millis(self.deadline_ms)),
            closed_at: None,
            outcome: None,
            details: crate::attempt::Details::default(),
            receipt: None,
            receipt_reason: None,
            receipt_code: None,
            receipt_at: None,
        }
    }
}

/// The first begin, when it comes with the admission.
pub type FirstAttempt = NewAttempt;

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
    pub attempt: Option<FirstAttempt>,
    /// No carrier had room: the first snooze.
    pub snooze: Option<Duration>,
    /// Whether somebody must be told of a final state.
    pub owes: bool,
}

#[derive(Serialize)]
struct AdmissionRow<'a> {
    ix: usize,
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
    owes: bool,
}

impl Admission {
    /// The first step after the first that is no call; one more than the plan is long when there is none.
    pub(super) fn skip_to(&self) -> u8 {
        let plan = &self.order.plan;
        (2..plan.over())
            .find(|s| plan.step(*s) != Some(Channel::Voice))
            .unwrap_or(plan.over())
    }

    pub(super) fn json(&self, ix: usize) -> serde_json::Value {
        let row = AdmissionRow {
            ix,
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
            owes: self.owes,
        };
        serde_json::to_value(row).expect("plain structs with text keys serialise")
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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// An attempt that is about to be made for a dispatch as it was seen.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The dispatch.
    pub uid: Uuid,
    /// The version that was seen.
    pub seen: i64,
    /// The step.
    pub step: u8,
    /// The request.
    pub attempt: NewAttempt,
    /// The quota of calls, when the step is one and has not begun before.
    pub voice: Option<Limit>,
}

impl Beginning {
    pub(super) fn json(&self, ix: usize) -> serde_json::Value {
        serde_json::json!({
            "ix": ix, "uid": self.uid, "seen": self.seen, "step": self.step, "channel": self.attempt.channel,
            "carrier": self.attempt.carrier, "claim": self.attempt.claim, "repeats": self.attempt.repeats,
            "deadline_ms": self.attempt.deadline_ms, "voice": self.voice,
        })
    }
}

/// What became of a begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Committed; the dispatch with its open attempt.
    Begun(Box<Dispatch>),
    /// The dispatch is no longer the one that was seen; here it is, if it is still there.
    Lost(Option<Box<Dispatch>>),
    /// The quota of calls is full.
    VoiceRefused {
        /// Seconds until it has room.
        retry_after_s: u64,
        /// The ledger's clock.
        now: Timestamp,
    },
}

/// An outcome with what follows, or a conclusion alone.
#[derive(Debug, Clone)]
pub struct Deciding {
    /// The dispatch.
    pub uid: Uuid,
    /// The version that was seen.
    pub seen: i64,
    /// The outcome of the open attempt.
    pub outcome: Option<Closing>,
    /// What follows.
    pub conclusion: Option<Conclusion>,
    /// The quota keys of the dispatch's slots.
    pub keys: Vec<String>,
    /// Whether somebody must be told of the conclusion's events.
    pub owes: bool,
}

/// How an attempt is closed.
#[derive(Debug, Clone)]
pub struct Closing {
    /// Its number.
    pub n: u16,
    /// Its claim.
    pub claim: Uuid,
    /// The answer, judged.
    pub judgement: Judgement,
    /// When, by the ledger's clock as far as the worker knows it.
    pub at: Timestamp,
}

#[derive(Serialize)]
struct DecidingRow<'a> {
    ix: usize,
    uid: Uuid,
    seen: i64,
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
    conclusion: Option<ConclusionRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a [String]>,
}

#[derive(Serialize)]
struct ConclusionRow<'a> {
    version: i64,
    close: Option<u16>,
    state: State,
    reason: Option<Reason>,
    step: u8,
    step_at: Timestamp,
    snoozes: u16,
    snoozed_until: Option<Timestamp>,
    told_steps: u8,
    wake_at: Option<Timestamp>,
    drop_code: bool,
    slots: &'static str,
    events: &'a [Event],
    at: Timestamp,
}

impl Deciding {
    /// An outcome, and what follows from it.
    pub fn finish(seen: &Dispatch, closing: Closing, conclusion: Option<Conclusion>, owes: bool) -> Self {
        Self {
            outcome: Some(closing),
            conclusion,
            ..Self::of(seen, owes)
        }
    }

    /// A conclusion alone.
    pub fn decide(seen: &Dispatch, conclusion: Conclusion, owes: bool) -> Self {
        Self {
            conclusion: Some(conclusion),
            ..Self::of(seen, owes)
        }
    }

    fn of(seen: &Dispatch, owes: bool) -> Self {
        let keys = seen.slots.iter().map(|s| s.key.clone()).collect();
        Self {
            uid: seen.order.uid,
            seen: seen.version,
            outcome: None,
            conclusion: None,
            keys,
            owes,
        }
    }

    /// Whether the quota must be locked for it.
    pub(super) fn moves_slots(&self) -> bool {
        self.conclusion.as_ref().is_some_and(|c| c.slots != Slots::Keep)
    }

    pub(super) fn json(&self, ix: usize) -> serde_json::Value {
        let closing = self.outcome.as_ref();
        let details = closing.map(|c| &c.judgement.details);
        let outcome = closing.map(|c| c.judgement.outcome);
        let row = DecidingRow {
            ix,
            uid: self.uid,
            seen: self.seen,
            n: closing.map(|c| c.n),
            claim: closing.map(|c| c.claim),
            outcome: outcome.map(Outcome::word),
            detail: outcome.and_then(Outcome::detail),
            retry_after_ms: match outcome {
                Some(Outcome::Throttled { retry_after: Some(d) }) => Some(d.as_millis() as u64),
                _ => None,
            },
            closed_at: closing.map(|c| c.at),
            reference: details.and_then(|d| d.reference.as_deref()),
            carrier_code: details.and_then(|d| d.carrier_code.as_deref()),
            segments: details.and_then(|d| d.segments),
            price: details.and_then(|d| d.price.as_deref()),
            conclusion: self.conclusion.as_ref().map(|c| ConclusionRow {
                version: c.version,
                close: c.close,
                state: c.state,
                reason: c.reason,
                step: c.step,
                step_at: c.step_at,
                snoozes: c.snoozes,
                snoozed_until: c.snoozed_until,
                told_steps: c.told_steps,
                wake_at: c.wake_at,
                drop_code: c.drop_code,
                slots: match c.slots {
                    Slots::Keep => "keep",
                    Slots::GiveBack => "give_back",
                    Slots::TakeAgain => "take_again",
                },
                events: if self.owes { &c.events } else { &[] },
                at: c.at,
            }),
            keys: self.moves_slots().then_some(&self.keys),
        };
        serde_json::to_value(row).expect("plain structs with text keys serialise")
    }
}

/// What became of an outcome or a conclusion.
#[derive(Debug, Clone, PartialEq)]
pub enum Concluded {
    /// Written, with what follows.
    Written,
    /// The version had changed: the outcome alone was written; the dispatch as it is now.
    OutcomeOnly(Box<Dispatch>),
    /// The attempt was closed already. `fact`: it was unknown, and this answer proved its acceptance.
    Late {
        /// The row changed by it.
        fact: bool,
    },
    /// The dispatch is no longer the one that was seen; here it is, if it is still there.
    Lost(Option<Box<Dispatch>>),
}

/// A receipt for an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// The dispatch.
    pub uid: Uuid,
    /// The attempt's number.
    pub n: u16,
    /// The carrier whose door it came through.
    pub carrier: String,
    /// What it says.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// It changed what is known: the dispatch is due.
    Recorded,
    /// It was known, or does not outrank what is.
    NothingNew,
    /// There is no such attempt of this carrier; it is kept for 72 h.
    Stray,
}

/// A mark: no further request may begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marking {
    /// Whose dispatch.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// Why.
    pub stop: Stop,
}

/// What became of a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// It stands now.
    Marked {
        /// Our name for the dispatch.
        uid: Uuid,
        /// Its state.
        state: State,
    },
    /// An earlier one stands.
    MarkedBefore {
        /// Its state.
        state: State,
        /// The mark that stands.
        stop: Stop,
    },
    /// The dispatch has ended.
    Final {
        /// How.
        state: State,
    },
    /// There is no such dispatch.
    Unknown,
}

/// Events that a dispatch still owes to the world.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Owed {
    /// Our name for it.
    pub uid: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// What comes back in events.
    pub tags: std::collections::BTreeMap<String, String>,
    /// The sender's trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// In order.
    pub events: Vec<Event>,
}

impl Owed {
    /// What a conclusion of a dispatch is to tell.
    pub fn of(order: &Order, events: Vec<Event>) -> Self {
        Self {
            uid: order.uid,
            tenant: order.tenant.clone(),
            id: order.id,
            tags: order.tags.clone(),
            traceparent: order.traceparent.clone(),
            events,
        }
    }
}

/// Events that were told, and confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The dispatch.
    pub uid: Uuid,
    /// The versions of its events.
    pub versions: Vec<i64>,
}

/// A key of the HTTP doors, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its public part.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// What it may do, as words separated by spaces.
    pub scopes: String,
    /// SHA-256 of the whole key, hexadecimal.
    pub hash: String,
}
