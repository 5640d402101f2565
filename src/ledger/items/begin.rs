//! A request that is about to be made.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::admission::Limit;
use crate::domain::attempt::{Attempt, BEGIN_TO_SEND, Details};
use crate::domain::channel::Channel;
use crate::domain::clock::after;
use crate::domain::dispatch::Dispatch;

/// The time that is left for `finish` after a carrier's whole time-out.
const SEND_TO_FINISH: Duration = Duration::from_secs(2);

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
            deadline: after(now, Duration::from_millis(self.deadline_ms)),
            closed_at: None,
            outcome: None,
            details: Details::default(),
            receipt: None,
            receipt_reason: None,
            receipt_code: None,
            receipt_at: None,
        }
    }
}

/// An attempt that is about to be made for a dispatch as it was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Beginning {
    /// The dispatch.
    pub uid: Uuid,
    /// The version of the row that the decision was made on.
    #[serde(rename = "seen")]
    pub expected_version: i64,
    /// The step.
    pub step: u8,
    /// The request.
    #[serde(flatten)]
    pub attempt: NewAttempt,
    /// The quota of calls, when the step is one and has not begun before.
    pub voice: Option<Limit>,
}

/// What became of a begin.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Committed; the dispatch with its open attempt.
    Begun(Box<Dispatch>),
    /// The dispatch is no longer the one that was seen; here it is, if it is still there.
    VersionConflict(Option<Box<Dispatch>>),
    /// The quota of calls is full.
    VoiceRefused {
        /// Seconds until it has room.
        retry_after_s: u64,
        /// The ledger's clock.
        now: Timestamp,
    },
}
