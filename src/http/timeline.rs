//! The timeline of a dispatch, as its sender may read it: states, attempts, delivery receipts. It holds no code, and the number
//! is masked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::attempt::{Attempt, AttemptId, Outcome, Reason, ReceiptStatus, RefusalScope, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Dispatch, Stop};

/// One attempt: a request to a carrier, and its result.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AttemptStory)]
pub struct AttemptEntry {
    /// The attempt's id: `<uid>-<n>`
    pub attempt: String,
    /// The plan's step, from 1.
    pub step: u8,
    /// The attempt's channel.
    pub channel: Channel,
    /// The configured carrier.
    pub carrier: String,
    /// When the attempt was committed, before its request was sent.
    pub begun_at: Timestamp,
    /// When the outcome was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub closed_at: Option<Timestamp>,
    /// The outcome: `accepted`, `throttled`, …; absent while the attempt is open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub outcome: Option<String>,
    /// The result in one sentence.
    pub says: String,
    /// The id of the attempt with unknown outcome that this one repeats.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub repeats: Option<String>,
    /// The carrier's message id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub reference: Option<String>,
    /// The carrier's status or error code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub carrier_code: Option<String>,
    /// Number of message parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub segments: Option<u16>,
    /// The price that the carrier reports, with its currency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub price: Option<String>,
    /// The delivery receipt (DLR): `delivered` or `bad`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt: Option<ReceiptStatus>,
    /// The reason of a bad receipt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt_reason: Option<Reason>,
    /// The carrier's code in the receipt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt_code: Option<String>,
    /// When the receipt arrived.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt_at: Option<Timestamp>,
    /// The reason of an earlier bad receipt, which this one corrected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub corrected_reason: Option<Reason>,
    /// The carrier's code in the corrected receipt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub corrected_code: Option<String>,
    /// When the corrected receipt arrived.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub corrected_at: Option<Timestamp>,
}

/// The timeline of a dispatch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Story)]
pub struct Timeline {
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// otpost's id of the dispatch.
    pub uid: Uuid,
    /// The tenant that the dispatch belongs to.
    pub tenant: String,
    /// The current state.
    pub state: State,
    /// Whether the state is final.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The reason of the state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// Why the dispatch was stopped. No further attempt begins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub stop: Option<Stop>,
    /// The masked phone number.
    pub to: String,
    /// The country of the number, ISO 3166-1 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub country: Option<String>,
    /// The requested language.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub locale: Option<String>,
    /// The language of the messages: the first of these that has a template: the requested language, the country's language,
    /// English.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub language: Option<String>,
    /// The plan: the channels in order.
    pub channels: Vec<Channel>,
    /// The current step, from 1. One more than the number of channels when every step was tried.
    pub step: u8,
    /// The version of the dispatch. Every change increases it.
    pub version: i64,
    /// When the dispatch was admitted.
    pub admitted_at: Timestamp,
    /// When the code expires.
    pub expires_at: Timestamp,
    /// How often the current step found no carrier with room: each was at its rate limit, busy, or paused after failures.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub waits: u16,
    /// When a worker processes the dispatch next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub wake_at: Option<Timestamp>,
    /// The job's tags, which every event repeats.
    pub tags: BTreeMap<String, String>,
    /// The attempts, oldest first.
    pub attempts: Vec<AttemptEntry>,
}

impl From<&Dispatch> for Timeline {
    fn from(d: &Dispatch) -> Self {
        Self {
            id: d.order.id,
            uid: d.order.uid,
            tenant: d.order.tenant.clone(),
            state: d.state,
            is_final: d.state.is_final(),
            reason: d.reason,
            stop: d.stop,
            to: d.order.mask.clone(),
            country: d.order.country.clone(),
            locale: d.order.locale.clone(),
            language: None,
            channels: d.order.plan.channels().to_vec(),
            step: d.step,
            version: d.version,
            admitted_at: d.admitted_at,
            expires_at: d.order.expires_at,
            waits: if d.state.is_final() { 0 } else { d.snoozes },
            wake_at: d.wake_at,
            tags: d.order.tags.clone(),
            attempts: d.attempts.iter().map(|a| attempt(d.order.uid, a)).collect(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &u16) -> bool {
    *n == 0
}

fn attempt(uid: Uuid, a: &Attempt) -> AttemptEntry {
    AttemptEntry {
        attempt: AttemptId { uid, n: a.n }.to_string(),
        step: a.step,
        channel: a.channel,
        carrier: a.carrier.clone(),
        begun_at: a.begun_at,
        closed_at: a.closed_at,
        outcome: a.outcome.map(|o| o.word().to_owned()),
        says: says(a),
        repeats: a.repeats.map(|n| AttemptId { uid, n }.to_string()),
        reference: a.details.message_id.clone(),
        carrier_code: a.details.carrier_code.clone(),
        segments: a.details.segments,
        price: a.details.price.clone(),
        receipt: a.receipt,
        receipt_reason: a.receipt_reason,
        receipt_code: a.receipt_code.clone(),
        receipt_at: a.receipt_at,
        corrected_reason: a.corrected_reason,
        corrected_code: a.corrected_code.clone(),
        corrected_at: a.corrected_at,
    }
}

/// The result of an attempt in one sentence.
fn says(a: &Attempt) -> String {
    let again = a.repeats.map(|n| format!("repeats attempt {n}, whose outcome is unknown: "));
    let what = match (a.outcome, a.receipt) {
        (None, _) => "under way".to_owned(),
        (Some(Outcome::Accepted), None) => "accepted; no final receipt yet".to_owned(),
        (Some(Outcome::Accepted), Some(ReceiptStatus::Delivered)) => "accepted and delivered".to_owned(),
        (Some(Outcome::Accepted), Some(_)) => {
            let reason = a.receipt_reason.unwrap_or(Reason::Unexplained);
            format!("accepted, but not delivered ({})", reason.as_str().replace('_', " "))
        }
        (Some(Outcome::Throttled { retry_after }), _) => match retry_after {
            Some(wait) => format!("not accepted: the carrier asks to retry after {} s", wait.as_secs()),
            None => "not accepted: the carrier asks to retry later".to_owned(),
        },
        (Some(Outcome::NotSent(cause)), _) => format!("not sent ({})", cause.as_str().replace('_', " ")),
        (Some(Outcome::Unavailable), _) => "not accepted: the carrier is unavailable".to_owned(),
        (Some(Outcome::Unknown), _) => {
            "unknown: the carrier may have accepted the request without confirming it".to_owned()
        }
        (Some(Outcome::Rejected(reason)), _) => format!("refused ({})", reason.as_str().replace('_', " ")),
        (Some(Outcome::Misconfigured(RefusalScope::Account)), _) => {
            "the carrier refuses our account".to_owned()
        }
        (Some(Outcome::Misconfigured(RefusalScope::Narrow)), _) => {
            "the carrier refuses our account for this country or sender".to_owned()
        }
    };
    again.unwrap_or_default() + &what
}
