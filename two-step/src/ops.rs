//! The ops listener: liveness, readiness, metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use secrecy::ExposeSecret;

use crate::flow::Core;
use crate::seal::same;

/// The routes of the ops listener.
pub fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(core)
}

async fn ready(State(core): State<Arc<Core>>) -> Response {
    match core.store.check_schema().await {
        Ok(()) => "ready\n".into_response(),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}

/// Required unless the listener is on loopback.
async fn metrics(State(core): State<Arc<Core>>, headers: HeaderMap) -> Response {
    if let Some(token) = &core.config().ops.token {
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let given = given.and_then(|v| v.strip_prefix("Bearer "));
        if !given.is_some_and(|given| same(given, token.expose_secret())) {
            let how = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (
                StatusCode::UNAUTHORIZED,
                how,
                "bearer token required: send `Authorization: Bearer <ops.token>`\n",
            )
                .into_response();
        }
    }
    match core.outbox_waiting().await {
        Ok((waiting, oldest_s)) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], core.metrics.text(waiting, oldest_s)).into_response()
        }
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")).into_response(),
    }
}
