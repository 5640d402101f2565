//! Beginning an attempt: it is committed before its request is sent.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::limit::{FullQuota, Limit};
use super::lost_commit::LostCommit;
use crate::domain::attempt::{Attempt, BEGIN_TO_SEND, Details};
use crate::domain::channel::Channel;
use crate::domain::clock::after;
use crate::domain::dispatch::Dispatch;

/// Time between the carrier's time-out and the attempt's deadline, for writing the outcome.
const SEND_TO_FINISH: Duration = Duration::from_secs(2);

/// An attempt that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttempt {
    /// The attempt's channel.
    pub channel: Channel,
    /// The configured carrier.
    pub carrier: String,
    /// Random id of the attempt, 16 bytes. It makes the write idempotent.
    pub claim: Uuid,
    /// Milliseconds from `begun_at` until the attempt becomes `Unknown`: 3 s + the carrier's time-out + 2 s.
    pub deadline_ms: u64,
    /// The number of the attempt with unknown outcome that this one repeats.
    pub repeats: Option<u16>,
}

impl NewAttempt {
    /// An attempt with a new claim. `time_out` is the carrier's time-out for the whole request.
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

    /// The attempt as the ledger commits it.
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
            corrected_reason: None,
            corrected_code: None,
            corrected_at: None,
        }
    }
}

/// A request to begin an attempt of a dispatch.
#[derive(Debug, Clone)]
pub struct BeginRequest {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The version of the row that the decision was made on.
    pub expected_version: i64,
    /// The step that the attempt belongs to, from 1.
    pub step: u8,
    /// The attempt to begin.
    pub attempt: NewAttempt,
    /// The channel's quota. Set when the channel has one and the step has no attempt yet.
    pub channel_limit: Option<Limit>,
}

/// The result of beginning an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum BeginResult {
    /// The attempt is committed. Holds the dispatch with its open attempt.
    Begun(Box<Dispatch>),
    /// The row has another version, an open attempt, or no code. Holds the current dispatch.
    VersionConflict(Box<Dispatch>),
    /// The ledger has lost the row that the decision was made on.
    CommitLost(LostCommit),
    /// The channel's quota is used up.
    ChannelRefused {
        /// Seconds until the quota has room.
        retry_after_s: u64,
        /// The rule that refused the begin.
        full: Option<FullQuota>,
        /// The ledger's clock.
        now: Timestamp,
    },
}
