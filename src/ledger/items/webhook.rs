//! Events on their way to tenants' webhooks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::PendingEvents;

/// An event that is due at a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WebhookDelivery {
    /// The event, with what its body is made of; exactly one.
    #[serde(flatten)]
    pub owed: PendingEvents,
    /// How often it was tried before.
    pub tries: u16,
}

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// It was confirmed.
    Delivered,
    /// It was not, and is tried again after that time, or given up.
    Failed {
        /// Why, in our words.
        problem: String,
        /// The pause; none: given up.
        again: Option<Duration>,
    },
}

/// An event that waits or was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HookRow)]
pub struct WebhookRow {
    /// Our name for the dispatch.
    pub uid: Uuid,
    /// The event's version.
    pub version: i64,
    /// Its sender's name for the dispatch.
    pub id: Uuid,
    /// The state that it tells.
    pub state: String,
    /// How often it was tried.
    pub tries: u16,
    /// When it is tried next; none: given up.
    #[serde(default)]
    pub due_at: Option<Timestamp>,
    /// When it was made.
    pub born_at: Timestamp,
    /// Why it was not told the last time.
    #[serde(default)]
    pub problem: Option<String>,
}
