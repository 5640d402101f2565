//! `GET /v1/webhooks`, `POST /v1/webhooks/test`, `POST /v1/webhooks/replay`: a tenant looks after its webhook.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Api;
use super::body;
use super::key::Scope;
use super::problem::Problem;

/// Events that a list shows at most.
const MOST: usize = 200;

/// The target, and what waits for it or was given up.
pub(super) async fn list(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let key = api.keyring.check(&headers, Scope::Admin).await?;
    let url = api.webhooks.url(&key.tenant);
    let rows = api.ledger.hooks(&key.tenant, MOST).await?;
    let events: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut shown = json!(row);
            shown["event"] = json!(format!("{}/{}", row.uid, row.version));
            shown
        })
        .collect();
    Ok(Json(json!({"url": url, "events": events})))
}

/// Sends a test event now.
pub(super) async fn test(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Json<Value>, Problem> {
    let key = api.keyring.check(&headers, Scope::Admin).await?;
    match api.webhooks.test(&key.tenant).await {
        None => Err(none()),
        Some(Ok(status)) => Ok(Json(json!({"told": true, "status": status}))),
        Some(Err(problem)) => Ok(Json(json!({"told": false, "problem": problem}))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    event: Option<String>,
}

/// Makes what was given up due again: one event, or all.
pub(super) async fn replay(
    State(api): State<Arc<Api>>, headers: HeaderMap, body: Body,
) -> Result<Json<Value>, Problem> {
    let key = api.keyring.check(&headers, Scope::Admin).await?;
    if api.webhooks.url(&key.tenant).is_none() {
        return Err(none());
    }
    let bad = |rule: &str| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("event: {rule}"))
            .with("field", "event")
    };
    let body = body::read(body).await?;
    let which = if body.is_empty() { Ok(Which { event: None }) } else { serde_json::from_slice(&body) };
    let which: Which = which.map_err(|_| bad("must be the only field, an event's id"))?;
    let only = match which.event {
        None => None,
        Some(id) => Some(event_id(&id).ok_or_else(|| bad("must be an event's id: <uid>/<version>"))?),
    };
    let replayed = api.ledger.replay_hooks(&key.tenant, only).await?;
    api.webhooks.poke(&key.tenant);
    Ok(Json(json!({"replayed": replayed})))
}

fn event_id(text: &str) -> Option<(Uuid, i64)> {
    let (uid, version) = text.split_once('/')?;
    Some((uid.parse().ok()?, version.parse().ok()?))
}

fn none() -> Problem {
    let detail = "this tenant has no webhook: add [tenants.NAME.webhook] to the configuration";
    Problem::new(StatusCode::NOT_FOUND, "no-webhook", detail)
}
