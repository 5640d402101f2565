//! State changes as CloudEvents 1.0 in JSON. The event is the same on the broker, in webhooks and in SSE.

use std::borrow::Cow;
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

/// Most events are smaller than this.
const USUAL_BYTES: usize = 768;

/// A state change of a dispatch, as a CloudEvents 1.0 event. Events are published at least once: a repeated event has the same
/// `id`. `sequence` orders the events of one dispatch. Ignore unknown members, because new ones may be added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event", example = CloudEvent::example())]
pub struct CloudEvent {
    /// CloudEvents version: `1.0`
    #[schemars(extend("const" = "1.0"))]
    pub specversion: Cow<'static, str>,
    /// Unique id of the event: `<uid>/<version>`
    #[schemars(regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[1-9][0-9]*$"))]
    pub id: String,
    /// Source of the event: `/otpost`
    #[schemars(extend("const" = "/otpost"))]
    pub source: Cow<'static, str>,
    /// Event type: `io.otpost.dispatch.<state>`
    #[schemars(regex(pattern = r"^io\.otpost\.dispatch\.[a-z]+$"))]
    #[serde(rename = "type")]
    pub kind: String,
    /// When the state changed, by the ledger's clock.
    pub time: Timestamp,
    /// Media type of `data`: `application/json`
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: Cow<'static, str>,
    /// The dispatch's version after the change.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// The state change.
    pub data: EventData,
}

/// The state change of a dispatch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventData {
    /// The tenant that the dispatch belongs to.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The new state.
    pub state: State,
    /// The plan's step that the event refers to, from 1.
    pub step: u8,
    /// The channel of the attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Channel")]
    pub channel: Option<Channel>,
    /// The configured carrier of the attempt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String")]
    pub carrier: Option<String>,
    /// The attempt that the event refers to: `<uid>-<n>`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "String")]
    pub attempt: Option<String>,
    /// The reason of the state.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Reason")]
    pub reason: Option<Reason>,
    /// Seconds until the quota admits another dispatch to this number (`limited` only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "u64")]
    pub retry_after_s: Option<u64>,
    /// The job's tags.
    pub tags: BTreeMap<String, String>,
}

impl CloudEvent {
    /// Builds the `CloudEvent` of one pending event.
    pub fn of(pending: &PendingEvents, event: &Event) -> Self {
        Self {
            specversion: "1.0".into(),
            id: format!("{}/{}", pending.uid, event.version),
            source: "/otpost".into(),
            kind: format!("io.otpost.dispatch.{}", event.state),
            time: event.at,
            datacontenttype: "application/json".into(),
            sequence: event.version,
            data: EventData {
                tenant: pending.tenant.clone(),
                id: pending.id,
                state: event.state,
                step: event.step,
                channel: event.channel,
                carrier: event.carrier.clone(),
                attempt: event.attempt.map(|n| AttemptId { uid: pending.uid, n }.to_string()),
                reason: event.reason,
                retry_after_s: event.retry_after_s,
                tags: pending.tags.clone(),
            },
        }
    }

    /// The example in the contracts: a carrier has accepted a text message.
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
        let pending = PendingEvents {
            uid,
            tenant: "default".to_owned(),
            id: uuid::uuid!("0192f0c1-2222-4333-8444-555566667777"),
            tags: BTreeMap::from([("flow".to_owned(), "login".to_owned())]),
            traceparent: None,
            events: vec![],
        };
        Self::of(&pending, &event)
    }

    /// The event as JSON text.
    pub fn to_json(&self) -> String {
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, self).expect("plain structs with text keys serialise");
        String::from_utf8(json).expect("JSON is UTF-8")
    }
}
