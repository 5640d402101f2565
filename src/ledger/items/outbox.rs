//! The transactional outbox: pending and published events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::dispatch::{Event, Order};

/// Where the events of a dispatch are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Destinations {
    /// Whether they are published to the exchange `otpost.events`.
    pub broker: bool,
    /// Whether they are delivered to the tenant's webhook.
    pub webhook: bool,
}

/// A row of the outbox: the events that were committed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventBatch {
    /// The id of the row.
    pub id: Uuid,
    /// Number of dispatches whose events it holds. The row is deleted when the events of all of them are published.
    pub dispatches: usize,
}

/// The events of one dispatch that are not published yet.
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
    /// The outbox row that holds them. `None` if the store keeps no rows of several dispatches.
    #[serde(skip)]
    pub batch: Option<EventBatch>,
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
            batch: None,
        }
    }

    /// The same events, in this row of the outbox.
    #[must_use]
    pub fn in_batch(self, batch: Option<EventBatch>) -> Self {
        Self { batch, ..self }
    }
}

/// Events of one dispatch that were published and confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEvents {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The versions of the published events.
    pub versions: Vec<i64>,
    /// The outbox row that held them.
    pub batch: Option<EventBatch>,
}

impl PublishedEvents {
    /// All of these events.
    pub fn of(pending: &PendingEvents) -> Self {
        let versions = pending.events.iter().map(|event| event.version).collect();
        Self { uid: pending.uid, versions, batch: pending.batch }
    }
}
