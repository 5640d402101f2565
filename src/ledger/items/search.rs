//! A search of dispatches, for operators.

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::attempt::State;
use crate::domain::dispatch::Dispatch;

/// Which rows a search reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchBy {
    /// The dispatches of a number: the look-up keys of its spellings.
    Number(Vec<String>),
    /// Those with this id: otpost's, or that of the sender of one of these tenants.
    Id {
        /// The id.
        id: Uuid,
        /// The tenants.
        tenants: Vec<String>,
    },
    /// All of the period.
    Period,
}

/// A search of dispatches. Results are ordered by uid, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchSearch {
    /// Which rows are read.
    pub by: SearchBy,
    /// The beginning of the period.
    pub from: Timestamp,
    /// The end of the period, exclusive. `None`: now.
    pub to: Option<Timestamp>,
    /// The cursor of an earlier page.
    pub before: Option<Uuid>,
    /// Only dispatches in this state.
    pub state: Option<State>,
    /// Only dispatches of this tenant.
    pub tenant: Option<String>,
    /// Maximum number of dispatches in the answer.
    pub limit: usize,
}

/// The rows that a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::ledger) struct FoundRows {
    /// The uids of the matching rows, newest first.
    pub(in crate::ledger) uids: Vec<Uuid>,
    /// Number of rows that were looked at.
    pub(in crate::ledger) examined: usize,
    /// The oldest of them.
    pub(in crate::ledger) oldest: Option<Uuid>,
}

/// A page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchPage {
    /// The dispatches, newest first.
    pub dispatches: Vec<Dispatch>,
    /// The cursor of the next page. `None` at the end. A page may be empty and have one.
    pub next: Option<Uuid>,
}
