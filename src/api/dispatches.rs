//! `POST /v1/dispatches` and `GET /v1/dispatches/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::Api;
use super::body;
use super::key::Scope;
use super::problem::Problem;
use crate::admit::Door;
use crate::attempt::{Reason, State as Standing};
use crate::ledger::{Admission, Admitted, KeyRow};
use crate::story::Story;

/// Takes a job in: 202 with its state, 200 for a known id.
pub(super) async fn create(
    State(api): State<Arc<Api>>, headers: HeaderMap, body: Body,
) -> Result<Response, Problem> {
    let outcome = admit(&api, &headers, body).await;
    let result = match &outcome {
        Ok(response) if response.status() == StatusCode::OK => "known",
        Ok(_) => "queued",
        Err(p) if p.status() == StatusCode::CONFLICT => "conflict",
        Err(p) if p.status() == StatusCode::TOO_MANY_REQUESTS => "limited",
        Err(p) if p.status() == StatusCode::SERVICE_UNAVAILABLE => "away",
        Err(p) if matches!(p.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "denied",
        Err(_) => "refused",
    };
    api.metrics.admitted("http", result);
    outcome
}

async fn admit(api: &Api, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    let key = api.keyring.check(headers, Scope::Dispatch).await?;
    if !api.flood.lets_client(&key.id) {
        return Err(too_many("too many requests from this client", 1));
    }
    let body = body::read(body).await?;
    let now = crate::clock::now();
    // A panic in a library that reads strangers' text costs this one request.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let job = api.admitter.decode(&body, Some(&key.tenant), now)?;
        let traceparent = headers.get("traceparent").and_then(|v| v.to_str().ok());
        Ok::<_, crate::dispatch::BadMessage>(api.admitter.admission(&job, Door::Http, traceparent, now))
    }));
    let admission = read.map_err(|_| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-job", "the job cannot be read")
    })??;
    answer(api, &key, admission).await
}

async fn answer(api: &Api, key: &KeyRow, admission: Admission) -> Result<Response, Problem> {
    let (order, number) = (admission.order.clone(), admission.limits[0].key.clone());
    let flooded = !api.flood.lets_number(&number);
    let refused_for = api.flood.refused(&number);
    if flooded || refused_for.is_some() {
        // Never the look for the id: a known one is answered whatever the limits say.
        if api.ledger.find(&key.tenant, order.id).await?.is_none() {
            return Err(match refused_for {
                Some(wait) => quota_full(wait),
                None => too_many("too many requests for this number", 5),
            });
        }
    }
    match api.ledger.admit(admission).await? {
        Admitted::Born { state, superseded, .. } => {
            api.waker.wake(order.uid);
            for uid in superseded {
                api.waker.wake(uid);
            }
            Ok((StatusCode::ACCEPTED, Json(json!({"id": order.id, "uid": order.uid, "state": state})))
                .into_response())
        }
        Admitted::Known { uid, state, mine, .. } => {
            if mine || uid == order.uid {
                api.waker.wake(uid);
            }
            Ok((StatusCode::OK, Json(json!({"id": order.id, "uid": uid, "state": state}))).into_response())
        }
        Admitted::Conflict => {
            let detail = "this id is known with other content; use a new id for a new code";
            Err(Problem::new(StatusCode::CONFLICT, "conflict", detail))
        }
        Admitted::Refused { state, reason, retry_after_s } => {
            Err(refused(api, &number, state, reason, retry_after_s))
        }
    }
}

fn refused(api: &Api, number: &str, state: Standing, reason: Reason, retry_after_s: Option<u64>) -> Problem {
    match state {
        Standing::Limited => {
            let wait = retry_after_s.unwrap_or(1);
            api.flood.remember(number, wait);
            too_many("this number was sent to as often as its quota allows", wait)
                .with("reason", reason.as_str())
        }
        Standing::Superseded => {
            let detail = "a newer dispatch of the same sign-in is there";
            Problem::new(StatusCode::CONFLICT, "superseded", detail).with("reason", reason.as_str())
        }
        _ => {
            let detail = match reason {
                Reason::Life => "expires_at: the code must live for at least 10 s more",
                Reason::NumberNotPossible => "to: the numbering plan has no such number",
                Reason::Country => "to: this country is not served",
                _ => "the job is refused",
            };
            let field = if reason == Reason::Life { "expires_at" } else { "to" };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", detail)
                .with("reason", reason.as_str())
                .with("field", field)
        }
    }
}

fn quota_full(retry_after_s: u64) -> Problem {
    too_many("this number was sent to as often as its quota allows", retry_after_s)
        .with("reason", Reason::Quota.as_str())
}

fn too_many(detail: &str, retry_after_s: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail).retry_after(retry_after_s)
}

/// The whole story. Another tenant's id is unknown.
pub(super) async fn show(
    State(api): State<Arc<Api>>, Path(id): Path<String>, headers: HeaderMap,
) -> Result<Json<Story>, Problem> {
    let key = api.keyring.check(&headers, Scope::Read).await?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "unknown", "there is no dispatch of this id");
    let id: Uuid = id.parse().map_err(|_| unknown())?;
    let d = api.ledger.find(&key.tenant, id).await?.ok_or_else(unknown)?;
    Ok(Json(Story::from(&d)))
}
