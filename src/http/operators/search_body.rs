//! The body of a search of dispatches.

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::request::Body;
use crate::domain::attempt::State;

/// What to search for. All given fields must match.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SearchBody {
    /// A number in E.164. All spellings of it are found.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^\\+[1-9][0-9]{6,14}$")]
    pub(super) number: Option<Zeroizing<String>>,
    /// The sender's id, or otpost's.
    #[serde(default)]
    pub(super) id: Option<Uuid>,
    /// A state.
    #[serde(default)]
    pub(super) state: Option<State>,
    /// A tenant.
    #[serde(default)]
    pub(super) tenant: Option<String>,
    /// The beginning of the period of admission. Default: an hour ago, or with a number or an id no limit.
    #[serde(default)]
    pub(super) from: Option<Timestamp>,
    /// The end of the period, exclusive. Default: now.
    #[serde(default)]
    pub(super) to: Option<Timestamp>,
    /// Maximum number of dispatches; default 50.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 200)]
    pub(super) limit: Option<usize>,
    /// The `next` of the page before.
    #[serde(default)]
    pub(super) cursor: Option<Uuid>,
}

impl Body for SearchBody {
    const FIELDS: &'static str = "number, id, state, tenant, from, to, limit and cursor, all of them optional; see the contract for their forms";
}
