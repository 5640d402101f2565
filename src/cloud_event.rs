//! What the world hears of a dispatch: a `CloudEvents` 1.0 event in JSON, the same over the broker, webhooks and SSE.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempt::{AttemptId, Reason, State};
use crate::dispatch::{Channel, Event};
use crate::ledger::Owed;

/// An event. `id` is the same however often it is told; `sequence` orders the events of one dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// `1.0`
    pub specversion: String,
    /// `<uid>/<version>`
    pub id: String,
    /// `/otpost`
    pub source: String,
    /// `io.otpost.dispatch.<state>`
    #[serde(rename = "type")]
    pub kind: String,
    /// When the state changed, by the ledger's clock.
    pub time: Timestamp,
    /// `application/json`
    pub datacontenttype: String,
    /// The dispatch's version after the change.
    pub sequence: i64,
    /// What changed.
    pub data: EventData,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventData {
    /// Whose dispatch.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// The new state.
    pub state: State,
    /// The step that it is about, counted from 1.
    pub step: u8,
    /// The channel of the attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub channel: Option<Channel>,
    /// The carrier of the attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub carrier: Option<String>,
    /// The attempt that it is about: `<uid>-<n>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Seconds until a dispatch to this number would be allowed again (`limited` only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_s: Option<u64>,
    /// The job's tags.
    pub tags: BTreeMap<String, String>,
}

impl CloudEvent {
    /// One of the events that a dispatch owes.
    pub fn of(owed: &Owed, event: &Event) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id: format!("{}/{}", owed.uid, event.version),
            source: "/otpost".to_owned(),
            kind: format!("io.otpost.dispatch.{}", event.state),
            time: event.at,
            datacontenttype: "application/json".to_owned(),
            sequence: event.version,
            data: EventData {
                tenant: owed.tenant.clone(),
                id: owed.id,
                state: event.state,
                step: event.step,
                channel: event.channel,
                carrier: event.carrier.clone(),
                attempt: event.attempt.map(|n| AttemptId { uid: owed.uid, n }.to_string()),
                reason: event.reason,
                retry_after_s: event.retry_after_s,
                tags: owed.tags.clone(),
            },
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain structs with text keys serialise")
    }
}
