//! The HTTP listeners: one for jobs and acts, one for carriers' callbacks.
//!
//! Comes in: requests. Goes out: answers, and problem documents (RFC 9457). Nothing here decides what happens to a dispatch.

mod acts;
mod body;
pub mod contracts;
mod dispatches;
mod events;
mod flood;
mod key;
mod openapi;
mod problem;
pub mod timeline;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::config::LimitsConfig;
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::delivery::wake::Waker;
use crate::ledger::Ledger;
use crate::ops::metrics::Metrics;
use crate::outbox::feed::Feed;
use crate::outbox::webhook::Webhooks;
use crate::receipts::{CallbackAnswer, Receiver};
use tokio_util::sync::CancellationToken;

use flood::Flood;
use key::Keyring;
pub use key::{Bearer, NewKey, Scope};
pub use openapi::document;
use problem::Problem;
pub use problem::ProblemKind;

/// Time limit for one request. The ledger's own time limits are shorter.
const TIME_OUT: Duration = Duration::from_secs(15);
/// Interval at which expired entries of the flood control are removed.
const SWEEP: Duration = Duration::from_secs(30);

/// Dependencies of the HTTP API.
pub struct ApiState {
    /// The ledger that stores dispatches and API keys.
    pub ledger: Ledger,
    /// The rules for decoding and admitting jobs.
    pub rules: Live<Rules>,
    /// Wakes workers after an admission or an act.
    pub waker: Waker,
    /// Counters of admissions and acts.
    pub metrics: Arc<Metrics>,
    /// Source of the event streams.
    pub feed: Feed,
    /// The tenants' webhooks.
    pub webhooks: Live<Webhooks>,
    /// Ends open streams on cancellation.
    pub shutdown: CancellationToken,
}

/// The HTTP API for jobs and acts.
pub struct Api {
    parts: ApiState,
    keyring: Keyring,
    flood: Live<Flood>,
}

impl std::ops::Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.parts
    }
}

impl Api {
    /// Creates the API. It serves no requests before [`Api::router`] is mounted.
    pub fn new(parts: ApiState, limits: &LimitsConfig) -> Arc<Self> {
        let keyring = Keyring::new(parts.ledger.clone());
        Arc::new(Self { parts, keyring, flood: Live::new(Flood::new(limits)) })
    }

    /// Applies new rate limits. Unchanged limits keep their counts, and cached refusals are cleared.
    pub fn limit(&self, limits: &LimitsConfig) {
        if self.flood.now().has_limits_of(limits) {
            self.flood.now().forget_refusals();
        } else {
            self.flood.replace(Flood::new(limits));
        }
    }

    /// Removes expired entries of the flood control periodically. Never returns.
    pub async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP);
        loop {
            tick.tick().await;
            self.flood.now().sweep();
        }
    }

    /// The routes of the API.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/dispatches", post(dispatches::create))
            .route("/v1/dispatches/{id}", get(dispatches::show))
            .route("/v1/dispatches/{id}/feedback", post(acts::feedback))
            .route("/v1/dispatches/{id}/next", post(acts::next))
            .route("/v1/dispatches/{id}/cancel", post(acts::cancel))
            .route("/v1/events", get(events::follow))
            .route("/v1/webhooks", get(webhooks::list))
            .route("/v1/webhooks/test", post(webhooks::test))
            .route("/v1/webhooks/replay", post(webhooks::replay))
            .route("/v1/openapi.json", get(openapi::serve))
            .fallback(async || Problem::no_path())
            .method_not_allowed_fallback(async || Problem::no_method())
            .layer(from_fn(time_out))
            .with_state(Arc::clone(self))
    }
}

/// The routes for carriers' callbacks.
pub fn receipts(receiver: Arc<Receiver>) -> Router {
    Router::new()
        .route("/v1/receipts/{carrier}/{attempt}/{token}", post(receive))
        .layer(from_fn(time_out))
        .with_state(receiver)
}

async fn receive(
    State(receiver): State<Arc<Receiver>>, Path((carrier, attempt, token)): Path<(String, String, String)>,
    headers: HeaderMap, body: Body,
) -> Response {
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    match receiver.receive(&carrier, &attempt, &token, &headers, &body).await {
        CallbackAnswer::Taken => StatusCode::NO_CONTENT.into_response(),
        CallbackAnswer::InvalidCallback => Problem::new(
            StatusCode::FORBIDDEN,
            ProblemKind::InvalidCallback,
            "the token or the signature is wrong",
        )
        .into_response(),
        CallbackAnswer::Unreadable => Problem::new(
            StatusCode::BAD_REQUEST,
            ProblemKind::Unreadable,
            "this is no receipt of this carrier",
        )
        .into_response(),
        CallbackAnswer::Unavailable => {
            let detail = "the ledger does not answer; send the same callback again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, ProblemKind::LedgerAway, detail)
                .retry_after(1)
                .into_response()
        }
    }
}

async fn time_out(request: Request, next: Next) -> Response {
    if let Ok(response) = tokio::time::timeout(TIME_OUT, next.run(request)).await {
        response
    } else {
        Problem::time_out().into_response()
    }
}
