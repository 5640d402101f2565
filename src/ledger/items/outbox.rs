//! The transactional outbox: pending and published events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::dispatch::{Event, Order};

/// Where the events of a dispatch are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Destinations {
    /// Whether they are published to the exchange `otpost.events`.
    #[serde(rename = "owes")]
    pub broker: bool,
    /// Whether they are delivered to the tenant's webhook.
    #[serde(rename = "hooks")]
    pub webhook: bool,
}

/// The events of one dispatch that are not published yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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
}

/// Events of one dispatch that were published and confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedEvents {
    /// The dispatch's uid.
    pub uid: Uuid,
    /// The versions of the published events.
    pub versions: Vec<i64>,
}
