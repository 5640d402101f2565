//! Statuses: a group, and an id within it.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::carrier_message::StateChange;

/// The status of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    group: &'static str,
    id: u32,
    name: Cow<'static, str>,
}

const GROUPS: [&str; 6] = ["ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED"];

impl Status {
    pub(super) const ACCEPTED: Self = Self::new("PENDING", 26, "PENDING_ACCEPTED");
    pub(super) const DUPLICATE: Self = Self::new("REJECTED", 23, "REJECTED_DUPLICATE_MESSAGE_ID");

    pub(super) const fn new(group: &'static str, id: u32, name: &'static str) -> Self {
        Self { group, id, name: Cow::Borrowed(name) }
    }

    /// Any id of a group, for statuses that have no constant.
    pub(super) fn any(group: &'static str, id: u32) -> Self {
        Self { group, id, name: format!("{group}_{id}").into() }
    }

    /// The status of a state, whose word is the group in lower case and whose code is an id.
    pub(super) fn of(change: &StateChange) -> Self {
        let word = change.status.to_ascii_uppercase();
        let group = GROUPS.into_iter().find(|group| *group == word).unwrap_or("PENDING");
        match (group, change.error_code) {
            (group, Some(id)) if id != 9 => Self::any(group, id),
            ("DELIVERED", _) => Self::new(group, 5, "DELIVERED_TO_HANDSET"),
            ("UNDELIVERABLE", _) => Self::new(group, 9, "UNDELIVERABLE_NOT_DELIVERED"),
            ("EXPIRED", _) => Self::new(group, 15, "EXPIRED_EXPIRED"),
            ("REJECTED", _) => Self::new(group, 6, "REJECTED_NETWORK"),
            _ => Self::new(group, 7, "PENDING_ENROUTE"),
        }
    }

    pub(super) fn json(&self) -> Value {
        let group = GROUPS.iter().position(|group| *group == self.group);
        json!({
            "groupId": group, "groupName": self.group, "id": self.id, "name": self.name,
            "description": "text of the mock gateway",
        })
    }
}
