//! Parses otpost's events (CloudEvents, over RabbitMQ and as Server-Sent Events) and the timeline of a dispatch.

use serde::Deserialize;
use uuid::Uuid;

use crate::flow::DispatchEvent;
use crate::method::Channel;
use crate::store::DispatchState;

#[derive(Deserialize)]
struct CloudEvent {
    sequence: i64,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    id: Uuid,
    state: String,
    channel: Option<String>,
    reason: Option<String>,
    retry_after_s: Option<u64>,
}

/// Parses an event. Returns `None` for an unknown type of event.
pub(super) fn read_event(body: &[u8]) -> Option<DispatchEvent> {
    let event: CloudEvent = serde_json::from_slice(body).ok()?;
    Some(DispatchEvent {
        dispatch: event.data.id,
        sequence: event.sequence,
        state: read_state(&event.data.state)?,
        channel: event.data.channel.as_deref().and_then(read_channel),
        reason: event.data.reason,
        retry_after_s: event.data.retry_after_s,
    })
}

#[derive(Deserialize)]
struct Timeline {
    id: Uuid,
    state: String,
    reason: Option<String>,
    version: i64,
    #[serde(default)]
    attempts: Vec<Attempt>,
}

#[derive(Deserialize)]
struct Attempt {
    channel: String,
}

/// Parses the timeline of a dispatch: its current state, and the channel of its newest attempt.
pub(super) fn read_timeline(body: &[u8]) -> Option<DispatchEvent> {
    let timeline: Timeline = serde_json::from_slice(body).ok()?;
    Some(DispatchEvent {
        dispatch: timeline.id,
        sequence: timeline.version,
        state: read_state(&timeline.state)?,
        channel: timeline.attempts.last().and_then(|a| read_channel(&a.channel)),
        reason: timeline.reason,
        retry_after_s: None,
    })
}

fn read_state(text: &str) -> Option<DispatchState> {
    text.parse().ok().filter(|s| *s != DispatchState::Waiting)
}

fn read_channel(text: &str) -> Option<Channel> {
    text.parse().ok()
}
