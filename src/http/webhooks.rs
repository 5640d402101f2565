//! `GET /v1/webhooks`, `POST /v1/webhooks/test`, `POST /v1/webhooks/replay`: managing the tenant's webhook.

use axum::Json;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::body::{self, Payload};
use super::openapi::problems;
use super::problem::{Problem, ProblemKind};
use super::replay_body::Which;
use super::scope;
use crate::domain::json::without_byte_order_mark;
use crate::ledger::WebhookRow;

/// Maximum number of events in a list.
const MAX_ROWS: usize = 200;

/// A tenant's webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookAnswer {
    /// The URL that events are delivered to; null without a webhook.
    url: Option<String>,
    /// The waiting and failed events, at most 200, newest first.
    events: Vec<HookAnswer>,
}

/// An event that waits for delivery, or whose last attempt failed.
#[derive(Debug, Serialize, ToSchema)]
struct HookAnswer {
    /// The event's id: `<uid>/<version>`
    event: String,
    #[serde(flatten)]
    row: WebhookRow,
}

/// Show the webhook and its waiting and failed events
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    tag = "webhooks",
    responses((status = 200, description = "The tenant's webhook", body = WebhookAnswer), ListProblems)
)]
pub(super) async fn list(
    Authorized { api, key, .. }: Authorized<scope::Admin>,
) -> Result<Json<WebhookAnswer>, Problem> {
    let url = api.state.webhooks.current().url(&key.tenant).map(str::to_owned);
    let rows = api.state.ledger.webhook_rows(&key.tenant, MAX_ROWS).await?;
    let event = |row: WebhookRow| HookAnswer { event: format!("{}/{}", row.uid, row.version), row };
    Ok(Json(WebhookAnswer { url, events: rows.into_iter().map(event).collect() }))
}

/// The result of a test event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestAnswer {
    /// Whether the receiver answered with a 2xx status.
    told: bool,
    /// The receiver's status; absent after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// What went wrong; absent after a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    problem: Option<String>,
}

/// Send a test event now
#[utoipa::path(
    post,
    path = "/v1/webhooks/test",
    tag = "webhooks",
    responses((status = 200, description = "The result", body = TestAnswer), TestProblems)
)]
pub(super) async fn test(
    Authorized { api, key, .. }: Authorized<scope::Admin>,
) -> Result<Json<TestAnswer>, Problem> {
    match api.state.webhooks.current().test(&key.tenant).await {
        None => Err(no_webhook()),
        Some(Ok(status)) => Ok(Json(TestAnswer { told: true, status: Some(status), problem: None })),
        Some(Err(problem)) => Ok(Json(TestAnswer { told: false, status: None, problem: Some(problem) })),
    }
}

/// The result of a replay.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplayAnswer {
    /// Number of events that are due again.
    replayed: u64,
}

/// Deliver failed events again
///
/// Makes one failed event due again, or all of them.
#[utoipa::path(
    post,
    path = "/v1/webhooks/replay",
    tag = "webhooks",
    request_body(content = ref("#/components/schemas/Which"), content_type = "application/json"),
    responses((status = 200, description = "How many are due again", body = ReplayAnswer), ReplayProblems)
)]
pub(super) async fn replay(
    Authorized { api, key, .. }: Authorized<scope::Admin>, Payload(body): Payload,
) -> Result<Json<ReplayAnswer>, Problem> {
    if api.state.webhooks.current().url(&key.tenant).is_none() {
        return Err(no_webhook());
    }
    let body = without_byte_order_mark(&body);
    let body = if body.is_empty() { b"{}" } else { body };
    // Through a map, because serde also reads a struct from a JSON array.
    let which =
        serde_json::from_slice::<Map<String, Value>>(body).and_then(|m| serde_json::from_value(m.into()));
    let which: Which = which.map_err(|_| bad_event("must be the only field, an event's id"))?;
    let only = match which.event {
        None => None,
        Some(id) => Some(event_id(&id).ok_or_else(|| bad_event("must be an event's id: <uid>/<version>"))?),
    };
    let replayed = api.state.ledger.replay_webhooks(&key.tenant, only).await?;
    api.state.webhooks.current().notify(&key.tenant);
    Ok(Json(ReplayAnswer { replayed }))
}

fn event_id(text: &str) -> Option<(Uuid, i64)> {
    let (uid, version) = text.split_once('/')?;
    Some((uid.parse().ok()?, version.parse().ok()?))
}

fn no_webhook() -> Problem {
    let detail = "this tenant has no webhook: add [tenants.NAME.webhook] to the configuration";
    Problem::new(StatusCode::NOT_FOUND, ProblemKind::NoWebhook, detail)
}

fn bad_event(rule: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, ProblemKind::Invalid, format!("event: {rule}"))
        .field("event")
}

problems! {
    ListProblems = authorized::problems::<scope::Admin>();
    TestProblems = authorized::problems::<scope::Admin>().into_iter().chain([no_webhook()]);
    ReplayProblems = authorized::problems::<scope::Admin>().into_iter().chain(body::problems())
        .chain([no_webhook(), bad_event("must be an event's id: <uid>/<version>")]);
}
