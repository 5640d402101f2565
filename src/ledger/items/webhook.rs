//! Pending webhook deliveries.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::PendingEvents;

/// An event that is due for delivery to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WebhookDelivery {
    /// The event, with the fields that its body needs; exactly one event.
    #[serde(flatten)]
    pub pending: PendingEvents,
    /// Number of earlier attempts to deliver it.
    pub tries: u16,
}

/// The result of an attempt to deliver an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The receiver answered with a 2xx status.
    Delivered,
    /// The delivery failed.
    Failed {
        /// The reason, in our own words.
        problem: String,
        /// The pause before the next attempt. `None` after the last attempt.
        retry_after: Option<Duration>,
    },
}

/// An event that is waiting for delivery, or whose last attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HookRow)]
pub struct WebhookRow {
    /// otpost's id of the dispatch.
    pub uid: Uuid,
    /// The dispatch's version in the event.
    pub version: i64,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// The state that the event reports.
    pub state: String,
    /// Number of attempts to deliver the event.
    pub tries: u16,
    /// When the next attempt is due; absent after the last attempt.
    #[serde(default)]
    pub due_at: Option<Timestamp>,
    /// When the event was created.
    pub born_at: Timestamp,
    /// Why the latest attempt failed.
    #[serde(default)]
    pub problem: Option<String>,
}
