//! What operators ask: is it alive, is it ready, what does it count.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::metrics::Metrics;

/// Asks a role whether it is ready: none, or a sentence on what is wrong.
pub type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What the ops door knows.
#[derive(Clone)]
pub struct Ops {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// One for each role of this process.
    pub roles: BTreeMap<&'static str, Readiness>,
}

impl Ops {
    /// Its routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(all))
            .route("/readyz/{role}", get(one))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn metrics(State(ops): State<Ops>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], ops.metrics.text()).into_response()
}

async fn all(State(ops): State<Ops>) -> Response {
    let problems: BTreeMap<_, _> = ops.roles.iter().map(|(role, ready)| (*role, ready())).collect();
    answer(problems)
}

async fn one(State(ops): State<Ops>, Path(role): Path<String>) -> Response {
    match ops.roles.get_key_value(role.as_str()) {
        Some((role, ready)) => answer([(*role, ready())].into()),
        None => (StatusCode::NOT_FOUND, "this process does not have that role\n").into_response(),
    }
}

fn answer(problems: BTreeMap<&'static str, Option<String>>) -> Response {
    let ready = problems.values().all(Option::is_none);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let roles: BTreeMap<_, _> =
        problems.into_iter().map(|(role, p)| (role, p.unwrap_or("ready".to_owned()))).collect();
    (status, Json(json!({"ready": ready, "roles": roles}))).into_response()
}
