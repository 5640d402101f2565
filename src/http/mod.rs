//! The HTTP listeners: one for jobs and acts, one for carriers' callbacks.
//!
//! Comes in: requests. Goes out: answers, and problem documents (RFC 9457). Nothing here decides what happens to a dispatch.

mod acts;
mod authorized;
mod body;
pub mod contracts;
mod dispatches;
mod events;
mod flood;
mod key;
mod openapi;
mod operator;
mod operators;
mod problem;
mod replay_body;
mod scope;
pub mod status;
pub mod timeline;
pub mod timeline_text;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::config::LimitsConfig;
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::delivery::wake::DispatchWaker;
use crate::ledger::Ledger;
use crate::ops::metrics::Metrics;
use crate::ops::status::Source;
use crate::outbox::feed::Feed;
use crate::outbox::webhook::Webhooks;
use crate::receipts::{CallbackAnswer, Incoming, Receiver};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use authorized::{KeyCache, Protected};
use flood::Flood;
pub use key::{Bearer, NewKey, Scope};
pub use openapi::document;
use problem::Problem;
pub use problem::ProblemKind;

/// Time limit for one request. The ledger's own time limits are shorter.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval at which expired entries of the flood control are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Dependencies of the HTTP API.
pub struct ApiState {
    /// The ledger that stores dispatches and API keys.
    pub ledger: Ledger,
    /// The rules for decoding and admitting jobs.
    pub rules: Live<Rules>,
    /// Wakes workers after an admission or an act.
    pub waker: DispatchWaker,
    /// Counters of admissions and acts.
    pub metrics: Arc<Metrics>,
    /// Source of the event streams.
    pub feed: Feed,
    /// The tenants' webhooks.
    pub webhooks: Live<Webhooks>,
    /// The status of the deployment.
    pub status: Arc<dyn Source>,
    /// Ends open streams on cancellation.
    pub shutdown: CancellationToken,
}

/// The HTTP API for jobs and acts.
pub struct Api {
    state: ApiState,
    keys: KeyCache,
    flood: Live<Flood>,
}

impl Api {
    /// Creates the API. It serves no requests before [`Api::router`] is mounted.
    pub fn new(state: ApiState, limits: &LimitsConfig) -> Arc<Self> {
        let keys = KeyCache::new(state.ledger.clone());
        Arc::new(Self { state, keys, flood: Live::new(Flood::new(limits)) })
    }

    /// Applies new rate limits. Unchanged limits keep their counts, and cached refusals are cleared.
    pub fn limit(&self, limits: &LimitsConfig) {
        if self.flood.current().has_limits_of(limits) {
            self.flood.current().forget_refusals();
        } else {
            self.flood.replace(Flood::new(limits));
        }
    }

    /// The number of entries of each bounded map.
    pub fn map_sizes(&self) -> Vec<(&'static str, usize)> {
        let flood = self.flood.current().sizes();
        flood.into_iter().chain([("api_keys", self.keys.len())]).collect()
    }

    /// Removes expired entries of the flood control periodically. Never returns.
    pub async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tick.tick().await;
            self.flood.current().sweep();
        }
    }

    /// The API as a service.
    pub fn router(self: &Arc<Self>) -> Router {
        let (router, _) = routes().split_for_parts();
        router
            .fallback(async || Problem::no_path())
            .method_not_allowed_fallback(async || Problem::no_method())
            .layer(from_fn(time_out))
            .with_state(Protected::new(Arc::clone(self)))
    }
}

/// The routes of the API and their contract. A handler names its own path and method.
fn routes() -> OpenApiRouter<Protected> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(dispatches::create))
        .routes(routes!(dispatches::show))
        .routes(routes!(acts::feedback))
        .routes(routes!(acts::next))
        .routes(routes!(acts::cancel))
        .routes(routes!(events::follow))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::replay))
        .routes(routes!(status::show))
        .routes(routes!(operators::carriers::list))
        .routes(routes!(operators::carriers::pause))
        .routes(routes!(operators::carriers::resume))
        .routes(routes!(operators::carriers::probe))
        .routes(routes!(operators::blocks::list, operators::blocks::add))
        .routes(routes!(operators::blocks::remove))
        .routes(routes!(operators::dispatches::search))
        .routes(routes!(operators::dispatches::show))
        .routes(routes!(operators::dispatches::cancel))
        .routes(routes!(operators::dispatches::retry))
        .routes(routes!(operators::quota::show))
        .routes(routes!(operators::quota::reset))
        .routes(routes!(operators::erase::erase))
        .routes(routes!(operators::audit::list))
        .routes(routes!(operators::config::show))
        .routes(routes!(openapi::serve))
}

/// The routes for carriers' callbacks.
pub fn callback_routes(receiver: Arc<Receiver>) -> Router {
    Router::new()
        .route("/v1/receipts/{carrier}/{attempt}/{token}", get(receive).post(receive))
        .route("/v1/receipts/{carrier}/{token}", get(receive).post(receive))
        .layer(from_fn(time_out))
        .with_state(receiver)
}

/// The parts of a callback's path.
#[derive(serde::Deserialize)]
struct CallbackPath {
    carrier: String,
    attempt: Option<String>,
    token: String,
}

async fn receive(
    State(receiver): State<Arc<Receiver>>, Path(path): Path<CallbackPath>, RawQuery(query): RawQuery,
    headers: HeaderMap, body: Body,
) -> Response {
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let incoming = Incoming {
        carrier: &path.carrier,
        attempt: path.attempt.as_deref(),
        token: &path.token,
        query: query.as_deref().unwrap_or_default(),
        headers: &headers,
        body: &body,
    };
    match receiver.receive(&incoming).await {
        CallbackAnswer::Taken => StatusCode::NO_CONTENT.into_response(),
        CallbackAnswer::Speech(answer) => {
            ([(header::CONTENT_TYPE, answer.content_type)], answer.body.to_string()).into_response()
        }
        CallbackAnswer::InvalidCallback => Problem::new(
            StatusCode::FORBIDDEN,
            ProblemKind::InvalidCallback,
            "the token or the signature is wrong",
        )
        .into_response(),
        CallbackAnswer::Unreadable => Problem::new(
            StatusCode::BAD_REQUEST,
            ProblemKind::Unreadable,
            "the body is not a receipt of this carrier",
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
    if let Ok(response) = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        response
    } else {
        Problem::time_out().into_response()
    }
}
