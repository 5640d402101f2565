//! The deletion of all rows of a number.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::audit::NewAuditRecord;
use crate::domain::dispatch::Dispatch;

/// One step of the deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraseStep {
    /// The look-up keys of the number's spellings.
    pub number_keys: Vec<String>,
    /// Maximum number of dispatches to delete.
    pub limit: usize,
    /// The record of the step. The ledger writes it if the step deletes anything.
    pub audit: NewAuditRecord,
}

/// A dispatch that a step did not delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftDispatch {
    /// otpost's id of the dispatch.
    pub uid: Uuid,
    /// The tenant that it belongs to.
    pub tenant: String,
    /// The sender's id of the dispatch.
    pub id: Uuid,
    /// Whether it is stopped or final. It can be deleted as soon as no worker processes it.
    pub is_stopped: bool,
}

impl LeftDispatch {
    pub(in crate::ledger) fn of(d: &Dispatch) -> Self {
        let order = &d.order;
        Self {
            uid: order.uid,
            tenant: order.tenant.clone(),
            id: order.id,
            is_stopped: d.stop.is_some() || d.state.is_final(),
        }
    }
}

/// The result of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Erased {
    /// Number of deleted dispatches.
    pub dispatches: u64,
    /// The keys of the quotas that they used.
    pub quota_keys: BTreeSet<String>,
    /// The dispatches that the step looked at and did not delete.
    pub left: Vec<LeftDispatch>,
    /// Whether the number may have further dispatches.
    pub is_partial: bool,
}
