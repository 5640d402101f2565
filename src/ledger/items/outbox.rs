//! The transactional outbox: events that are stored with the change that they report, until their receiver has them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::dispatch::{Event, Order, trace_id};

/// Where the events of a dispatch go. Without a broker they go to the live stream of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Destinations {
    /// Whether they are published to the exchange `otpost.events`.
    pub broker: bool,
    /// Whether they are delivered to the tenant's webhook.
    pub webhook: bool,
}

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receiver {
    /// The exchange `otpost.events`.
    Broker,
    /// The webhook of this tenant.
    Webhook(String),
    /// The live stream of this process. Its events are not stored.
    LiveStream,
}

impl Receiver {
    /// How long the process that has the events may try to deliver them. After that another process takes them.
    pub fn lease(&self) -> Duration {
        match self {
            Self::Broker | Self::LiveStream => Duration::from_secs(5),
            // Longer than the time-out of a request.
            Self::Webhook(_) => Duration::from_secs(30),
        }
    }

    /// Maximum number of dispatches in a batch.
    pub(in crate::ledger) fn max_dispatches(&self) -> usize {
        match self {
            Self::Broker | Self::LiveStream => usize::MAX,
            // All requests of a batch run at the same time.
            Self::Webhook(_) => 16,
        }
    }
}

impl fmt::Display for Receiver {
    /// The name in the outbox.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("broker"),
            Self::Webhook(tenant) => write!(f, "webhook:{tenant}"),
            Self::LiveStream => f.write_str("live stream"),
        }
    }
}

/// Events of one transaction for one receiver: a row of the outbox, or events for the live stream.
#[derive(Debug, Clone, PartialEq)]
pub struct EventBatch {
    /// The id of the row.
    pub id: Uuid,
    /// The receiver of the events.
    pub receiver: Receiver,
    /// The events, by dispatch.
    pub events: Vec<PendingEvents>,
    /// Number of earlier tries that did not deliver all of them.
    pub tries: u16,
    /// The end of the lease.
    pub lease_end: Instant,
}

impl EventBatch {
    /// A batch that this process has for a lease. `since` is before the lease was written.
    pub(in crate::ledger) fn leased(
        since: Instant, id: Uuid, receiver: Receiver, events: Vec<PendingEvents>,
    ) -> Self {
        let lease_end = since + receiver.lease();
        Self { id, receiver, events, tries: 0, lease_end }
    }

    /// Number of its events.
    pub fn event_count(&self) -> u64 {
        self.events.iter().map(|pending| pending.events.len() as u64).sum()
    }
}

/// The events of one dispatch that are not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEvents {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The tenant that the dispatch belongs to.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The job's tags, which every event repeats.
    pub tags: BTreeMap<String, String>,
    /// The W3C trace context of the job's sender.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// The events, ordered by version.
    pub events: Vec<Event>,
}

impl PendingEvents {
    /// The given events of a dispatch.
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

    /// The trace id of the sender's trace context.
    pub fn trace_id(&self) -> Option<&str> {
        trace_id(self.traceparent.as_deref()?)
    }

    /// Whether it holds this event.
    pub(in crate::ledger) fn has(&self, uid: Uuid, version: i64) -> bool {
        self.uid == uid && self.events.iter().any(|event| event.version == version)
    }
}

/// What a try did not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The row that the events came from.
    pub id: Uuid,
    /// Number of its earlier tries. If another process has recorded a try since, nothing is recorded.
    pub tries: u16,
    /// The events that are left, by dispatch.
    pub events: Vec<PendingEvents>,
    /// Why the last of them was not delivered, in our own words.
    pub problem: String,
    /// The pause before the next try. `None` after the last one.
    pub retry_after: Option<Duration>,
    /// Whether the try counts. It does not if the receiver has asked for a pause and got no request.
    pub counts: bool,
}
