//! What the world hears of a dispatch: a `CloudEvents` 1.0 event in JSON, the same over the broker, webhooks and SSE.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::attempt::{AttemptId, Reason, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::Event;
use crate::ledger::PendingEvents;

/// The content type of an event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// What the world hears of a dispatch: a `CloudEvents` 1.0 event. `id` is the same however often it is told; `sequence`
/// orders the events of one dispatch. New members may come: pass over what you do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event", example = CloudEvent::example())]
pub struct CloudEvent {
    /// `1.0`
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// `<uid>/<version>`
    #[schemars(regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[1-9][0-9]*$"))]
    pub id: String,
    /// `/otpost`
    #[schemars(extend("const" = "/otpost"))]
    pub source: String,
    /// `io.otpost.dispatch.<state>`
    #[schemars(regex(pattern = r"^io\.otpost\.dispatch\.[a-z]+$"))]
    #[serde(rename = "type")]
    pub kind: String,
    /// When the state changed, by the ledger's clock.
    pub time: Timestamp,
    /// `application/json`
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: String,
    /// The dispatch's version after the change.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// What changed.
    pub data: EventData,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(with = "Channel")]
    pub channel: Option<Channel>,
    /// The carrier of the attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String")]
    pub carrier: Option<String>,
    /// The attempt that it is about: `<uid>-<n>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String")]
    pub attempt: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Reason")]
    pub reason: Option<Reason>,
    /// Seconds until a dispatch to this number would be allowed again (`limited` only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "u64")]
    pub retry_after_s: Option<u64>,
    /// The job's tags.
    pub tags: BTreeMap<String, String>,
}

impl CloudEvent {
    /// One of the events that a dispatch destinations.
    pub fn of(owed: &PendingEvents, event: &Event) -> Self {
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

    /// One for the contracts: a text was taken by its carrier.
    fn example() -> Self {
        let uid = uuid::uuid!("019ad0c1-8c00-7000-8000-0123456789ab");
        let event = Event {
            version: 2,
            state: State::Sent,
            at: Timestamp::constant(1_796_126_401, 0),
            step: 1,
            attempt: Some(1),
            channel: Some(Channel::Sms),
            carrier: Some("main".to_owned()),
            reason: None,
            retry_after_s: None,
        };
        let owed = PendingEvents {
            uid,
            tenant: "default".to_owned(),
            id: uuid::uuid!("0192f0c1-2222-4333-8444-555566667777"),
            tags: BTreeMap::from([("flow".to_owned(), "login".to_owned())]),
            traceparent: None,
            events: vec![],
        };
        Self::of(&owed, &event)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain structs with text keys serialise")
    }
}
