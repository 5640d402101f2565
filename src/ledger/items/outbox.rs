//! What is owed to the world, and what was told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::dispatch::{Event, Order};

/// To whom a change of state is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Destinations {
    /// To the broker's exchange of events.
    #[serde(rename = "owes")]
    pub broker: bool,
    /// To the tenant's webhook.
    #[serde(rename = "hooks")]
    pub webhook: bool,
}

/// Events that a dispatch still owes to the world.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PendingEvents {
    /// Our name for it.
    pub uid: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// Its sender's name for it.
    pub id: Uuid,
    /// What comes back in events.
    pub tags: BTreeMap<String, String>,
    /// The sender's trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// In order.
    pub events: Vec<Event>,
}

impl PendingEvents {
    /// What a conclusion of a dispatch is to tell.
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

/// Events that were told, and confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedEvents {
    /// The dispatch.
    pub uid: Uuid,
    /// The versions of its events.
    pub versions: Vec<i64>,
}
