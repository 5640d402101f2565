//! Users, their devices, and what happened to them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::challenges::MethodAnswer;
use super::key::Scope;
use super::problem::Problem;
use super::{Api, body};

/// Events that one answer holds at most.
const MAX_EVENTS: u32 = 1000;

/// `GET /v1/users/{user}`
pub(super) async fn show(
    State(api): State<Arc<Api>>, Path(user): Path<String>, headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Read).await?;
    let (account, methods) = api.core.user(&product, &user).await?;
    let state: &'static str = account.state.into();
    let shown: Vec<MethodAnswer> = methods.iter().map(MethodAnswer::from).collect();
    Ok(Json(
        json!({"user": account.user_ref, "state": state, "paused_until": account.paused_until, "methods": shown}),
    ))
}

/// `DELETE /v1/users/{user}`
pub(super) async fn erase(
    State(api): State<Arc<Api>>, Path(user): Path<String>, headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let product = api.product(&headers, Scope::Manage).await?;
    api.core.erase(&product, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndBody {
    #[serde(default)]
    forget_devices: bool,
}

/// `POST /v1/users/{user}/end`
pub(super) async fn end(
    State(api): State<Arc<Api>>, Path(user): Path<String>, headers: HeaderMap, body: Body,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Manage).await?;
    let wanted: EndBody = body::read_or_default(body).await?;
    let (challenges, devices) = api.core.end_all(&product, &user, wanted.forget_devices).await?;
    Ok(Json(json!({"challenges_ended": challenges, "devices_forgotten": devices})))
}

/// `GET /v1/users/{user}/devices`
pub(super) async fn devices(
    State(api): State<Arc<Api>>, Path(user): Path<String>, headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Read).await?;
    let (account, _) = api.core.user(&product, &user).await?;
    let devices = api.core.devices(account.id).await?;
    let rows: Vec<Value> = devices
        .iter()
        .map(|(d, t)| json!({"id": d.id, "label": d.label, "used_at": t.used_at, "expires_at": t.expires_at}))
        .collect();
    Ok(Json(json!({"devices": rows})))
}

/// `DELETE /v1/users/{user}/devices/{id}`
pub(super) async fn revoke(
    State(api): State<Arc<Api>>, Path((user, id)): Path<(String, Uuid)>, headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let product = api.product(&headers, Scope::Manage).await?;
    if api.core.revoke_at_sign_out(&product, &user, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

/// `GET /v1/events?after=ID&limit=N`
pub(super) async fn events(
    State(api): State<Arc<Api>>, RawQuery(query): RawQuery, headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Read).await?;
    let (mut after, mut limit) = (Uuid::nil(), 100);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "after" => {
                after = value.parse().map_err(|_| Problem::invalid("after", "is the id of an event"))?;
            }
            "limit" => {
                let fits = value.parse::<u32>().ok().filter(|n| (1..=MAX_EVENTS).contains(n));
                limit = fits.ok_or_else(|| Problem::invalid("limit", "is from 1 to 1000"))?;
            }
            _ => return Err(Problem::invalid("query", "knows after and limit")),
        }
    }
    let events = api.core.events_after(&product, after, limit).await?;
    let rows: Vec<Value> = events
        .iter()
        .map(|e| {
            let data = serde_json::from_str::<Value>(&e.data).unwrap_or_default();
            json!({"id": e.id, "type": e.kind, "user": e.user_ref, "at": e.at, "actor": e.actor, "data": data})
        })
        .collect();
    Ok(Json(json!({"events": rows})))
}
