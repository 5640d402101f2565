//! The whole story of a dispatch, as its sender may read it: states, attempts, receipts. No code, and a masked number.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::attempt::{Attempt, AttemptId, Outcome, Reason, ReceiptStatus, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Dispatch, Stop};

/// What became of one request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AttemptStory)]
pub struct AttemptEntry {
    /// `<uid>-<n>`
    pub attempt: String,
    /// The step, from 1.
    pub step: u8,
    /// Its channel.
    pub channel: Channel,
    /// The carrier.
    pub carrier: String,
    /// When it was committed.
    pub begun_at: Timestamp,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub closed_at: Option<Timestamp>,
    /// `accepted`, `throttled`, …; none while it is open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub outcome: Option<String>,
    /// What the outcome means, in a sentence.
    pub says: String,
    /// The attempt that it repeats.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub repeats: Option<String>,
    /// The carrier's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub reference: Option<String>,
    /// The carrier's code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub carrier_code: Option<String>,
    /// Message parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub segments: Option<u16>,
    /// Price.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub price: Option<String>,
    /// `delivered` or `bad`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt: Option<ReceiptStatus>,
    /// Why it is bad.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt_reason: Option<Reason>,
    /// The carrier's own code in the receipt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt_code: Option<String>,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub receipt_at: Option<Timestamp>,
}

/// The whole timeline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Story)]
pub struct Timeline {
    /// The sender's name for it.
    pub id: Uuid,
    /// Ours.
    pub uid: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// Where it stands.
    pub state: State,
    /// Whether that is an end.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub reason: Option<Reason>,
    /// No further request begins, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub stop: Option<Stop>,
    /// The number as people may see it.
    pub to: String,
    /// Its country.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub country: Option<String>,
    /// The plan.
    pub channels: Vec<Channel>,
    /// The current step, from 1; one more than there are channels: the plan is over.
    pub step: u8,
    /// Raised by every change.
    pub version: i64,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// When the code ends.
    pub expires_at: Timestamp,
    /// When it is looked at again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(nullable = false)]
    pub wake_at: Option<Timestamp>,
    /// What comes back in events.
    pub tags: BTreeMap<String, String>,
    /// The requests, oldest first.
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
            channels: d.order.plan.channels().to_vec(),
            step: d.step,
            version: d.version,
            admitted_at: d.born_at,
            expires_at: d.order.expires_at,
            wake_at: d.wake_at,
            tags: d.order.tags.clone(),
            attempts: d.attempts.iter().map(|a| attempt(d.order.uid, a)).collect(),
        }
    }
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
        reference: a.details.reference.clone(),
        carrier_code: a.details.carrier_code.clone(),
        segments: a.details.segments,
        price: a.details.price.clone(),
        receipt: a.receipt,
        receipt_reason: a.receipt_reason,
        receipt_code: a.receipt_code.clone(),
        receipt_at: a.receipt_at,
    }
}

/// An attempt in one sentence.
fn says(a: &Attempt) -> String {
    let again =
        a.repeats.map(|n| format!("repeats attempt {n}, of which nobody knows whether it was taken: "));
    let what = match (a.outcome, a.receipt) {
        (None, _) => "under way".to_owned(),
        (Some(Outcome::Accepted), None) => "accepted; no final receipt yet".to_owned(),
        (Some(Outcome::Accepted), Some(ReceiptStatus::Delivered)) => "accepted and delivered".to_owned(),
        (Some(Outcome::Accepted), Some(_)) => {
            let reason = a.receipt_reason.unwrap_or(Reason::Unexplained);
            format!("accepted, but not delivered ({})", reason.as_str().replace('_', " "))
        }
        (Some(Outcome::Throttled { retry_after }), _) => match retry_after {
            Some(wait) => format!("not taken: the carrier asks for {} s of patience", wait.as_secs()),
            None => "not taken: the carrier asks for patience".to_owned(),
        },
        (Some(Outcome::NotSent(cause)), _) => format!("not sent ({})", cause.as_str().replace('_', " ")),
        (Some(Outcome::Unavailable), _) => "not taken: the carrier is away".to_owned(),
        (Some(Outcome::Unknown), _) => {
            "unknown: the carrier may have taken it, and did not say so".to_owned()
        }
        (Some(Outcome::Rejected(reason)), _) => format!("refused ({})", reason.as_str().replace('_', " ")),
        (Some(Outcome::Misconfigured(scope)), _) => format!("the carrier refuses our account ({scope})"),
    };
    again.unwrap_or_default() + &what
}
