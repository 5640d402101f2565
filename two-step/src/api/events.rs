//! The endpoint of events.

use axum::Json;
use axum::extract::RawQuery;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::openapi::problems;
use super::problem::Problem;
use super::{query, scope};
use crate::store::Event;

/// Maximum number of events in one answer.
const MAX_EVENTS: u32 = 1000;
/// Number of events in one answer without `limit`.
const DEFAULT_EVENTS: u32 = 100;

/// A page of a product's events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventsAnswer {
    /// Oldest first.
    events: Vec<EventAnswer>,
}

/// An event of a user.
#[derive(Debug, Serialize, ToSchema)]
struct EventAnswer {
    /// The id. Use the last one as the next `after`.
    id: Uuid,
    /// The kind of event, such as `method.added`.
    #[serde(rename = "type")]
    kind: String,
    /// The product's id of the user.
    user: String,
    /// The time.
    at: Timestamp,
    /// The author: `user`, `product`, `system`, or an agent.
    actor: String,
    /// Details. They contain no code, number or address.
    data: Map<String, Value>,
}

impl From<Event> for EventAnswer {
    fn from(e: Event) -> Self {
        let data = serde_json::from_str(&e.data).unwrap_or_default();
        Self { id: e.id, kind: e.kind, user: e.user_ref, at: e.at, actor: e.actor, data }
    }
}

/// List events
#[utoipa::path(
    get,
    operation_id = "listEvents",
    path = "/v1/events",
    tag = "events",
    params(
        ("after" = Option<Uuid>, Query, nullable = false, description = "The id of the last event that you read"),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 1000, description = "default: 100")
    ),
    responses((status = 200, description = "The events after it", body = EventsAnswer), EventsProblems)
)]
pub(super) async fn list(
    Authorized { api, product, .. }: Authorized<scope::Read>, RawQuery(query): RawQuery,
) -> Result<Json<EventsAnswer>, Problem> {
    let [after, limit] = query::read(query.as_deref(), ["after", "limit"])?;
    let after = after.map_or(Ok(Uuid::nil()), |text| text.parse());
    let after = after.map_err(|_| Problem::invalid("after", "must be the id of an event"))?;
    let limit = limit.map_or(Ok(DEFAULT_EVENTS), |text| text.parse());
    let limit = limit.ok().filter(|n| (1..=MAX_EVENTS).contains(n));
    let limit = limit.ok_or_else(|| Problem::invalid("limit", "must be from 1 to 1000"))?;
    let events = api.core.events_after(&product, after, limit).await?;
    Ok(Json(EventsAnswer { events: events.into_iter().map(EventAnswer::from).collect() }))
}

problems! {
    EventsProblems = [authorized::problems::<scope::Read>(), vec![Problem::invalid("limit", "must be from 1 to 1000")]];
}
