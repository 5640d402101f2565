//! `POST /v1/dispatches/{id}/feedback`, `/next` and `/cancel`.

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
use crate::act::{Acted, Barred, perform};
use crate::dispatch::{Act, Verb};

/// Does an act: 202 when something changes, 200 when nothing does.
pub(super) async fn act(
    State(api): State<Arc<Api>>, Path((id, verb)): Path<(String, String)>, headers: HeaderMap, body: Body,
) -> Result<Response, Problem> {
    let key = api.keyring.check(&headers, Scope::Act).await?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "unknown", "there is no dispatch of this id");
    let verb: Verb = verb.parse().map_err(|_| Problem::no_path())?;
    let id: Uuid = id.parse().map_err(|_| unknown())?;
    let body = body::read(body).await?;
    let act = Act::decode(verb, &body, Some((&key.tenant, id)))
        .map_err(|bad| Problem::from(bad).named("invalid-act"))?;
    match perform(&api.ledger, &api.waker, &api.metrics, &act).await? {
        Acted::Done { state, .. } => {
            Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "state": state}))).into_response())
        }
        Acted::Nothing { state } => {
            Ok((StatusCode::OK, Json(json!({"id": id, "state": state}))).into_response())
        }
        Acted::Not(barred) => Err(conflict(barred)),
        Acted::Unknown => Err(unknown()),
    }
}

fn conflict(barred: Barred) -> Problem {
    let no = |kind, detail| Problem::new(StatusCode::CONFLICT, kind, detail);
    match barred {
        Barred::Final(state) => no("final", "the dispatch has ended").with("state", state.as_str()),
        Barred::Stopped(stop) => {
            no("stopped", "no further request of this dispatch may begin").with("stop", stop.as_str())
        }
        Barred::PlanOver => no("plan-over", "the plan has no further step; dispatch a new job"),
        Barred::Pending => no("pending", "the step that was asked for before has not been tried yet"),
    }
}
