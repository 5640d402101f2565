//! Health, metrics and logs, for operators.
//!
//! Comes in: counts and states from all parts. Goes out: `/livez`, `/readyz`, `/metrics`, log lines. Nothing here changes a
//! dispatch.

pub mod crash;
pub mod dashboard;
pub mod metrics;
pub mod telemetry;
pub mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::config::live::Live;
use crate::ops::metrics::{Format, Metrics};

/// Readiness check of a role: `None` when ready, otherwise a sentence that says why not.
pub type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// State of the operations endpoint.
#[derive(Clone)]
pub struct Ops {
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The readiness check of each role of this process.
    pub roles: Live<BTreeMap<&'static str, Readiness>>,
    /// Bearer token required for `/metrics`. `None` disables the check.
    pub token: Option<SecretString>,
}

impl Ops {
    /// The routes of the operations endpoint.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readiness))
            .route("/readyz/{role}", get(role_readiness))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let given = bearer(headers);
        self.token.as_ref().is_none_or(|token| {
            given.is_some_and(|given| bool::from(token.expose_secret().as_bytes().ct_eq(given.as_bytes())))
        })
    }
}

/// The bearer token of a request. The word `Bearer` may be in any case (RFC 9110, 11.1), and some clients write more than one space.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) =
        headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

async fn metrics(State(ops): State<Ops>, headers: HeaderMap) -> Response {
    if !ops.is_authorized(&headers) {
        let how = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (
            StatusCode::UNAUTHORIZED,
            how,
            "/metrics needs the bearer token of ops.token: Authorization: Bearer …\n",
        )
            .into_response();
    }
    let format = Format::accepted(&headers);
    ([(header::CONTENT_TYPE, format.content_type())], ops.metrics.text(format)).into_response()
}

async fn readiness(State(ops): State<Ops>) -> Response {
    let problems: BTreeMap<_, _> = ops.roles.current().iter().map(|(role, ready)| (*role, ready())).collect();
    answer(problems)
}

async fn role_readiness(State(ops): State<Ops>, Path(role): Path<String>) -> Response {
    match ops.roles.current().get_key_value(role.as_str()) {
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
