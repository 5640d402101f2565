//! Webhook events that wait or have failed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::PendingEvents;

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

impl WebhookRow {
    /// The events of a dispatch in a row of the outbox.
    pub(in crate::ledger) fn of(
        pending: PendingEvents, tries: u16, due_at: Option<Timestamp>, created_at: Timestamp,
        problem: Option<&str>,
    ) -> Vec<Self> {
        let (uid, id) = (pending.uid, pending.id);
        let row = |event: crate::domain::dispatch::Event| Self {
            uid,
            version: event.version,
            id,
            state: event.state.to_string(),
            tries,
            due_at,
            born_at: created_at,
            problem: problem.map(str::to_owned),
        };
        pending.events.into_iter().map(row).collect()
    }
}
