//! The API for back ends: JSON over HTTP, with an API key of one product. Handlers parse requests, call the flows and build
//! answers. They make no decisions.

pub(crate) mod app;
mod authorized;
mod body;
mod challenges;
mod devices;
mod events;
mod idempotency;
mod key;
mod methods;
mod openapi;
mod problem;
mod proofs;
mod query;
mod scope;
mod sessions;
pub(crate) mod support;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post};

use authorized::Protected;

use crate::flow::Core;
pub use app::document as app_document;
pub use key::{NewKey, Scope};
pub use openapi::document;

/// The state that all handlers share.
pub struct Api {
    core: Arc<Core>,
}

/// The routes.
pub fn router(core: Arc<Core>) -> Router {
    let api = Arc::new(Api { core });
    Router::new()
        .route("/v1/challenges", post(challenges::create))
        .route("/v1/challenges/{id}", get(challenges::show))
        .route("/v1/challenges/{id}/send", post(challenges::send))
        .route("/v1/challenges/{id}/verify", post(proofs::verify))
        .route("/v1/challenges/{id}/cancel", post(challenges::cancel))
        .route("/v1/sessions", post(sessions::create))
        .route("/v1/users/{user}", get(users::show).delete(users::erase))
        .route("/v1/users/{user}/on", post(users::on))
        .route("/v1/users/{user}/off", post(users::off))
        .route("/v1/users/{user}/end", post(users::end))
        .route("/v1/users/{user}/methods", post(methods::add))
        .route("/v1/users/{user}/methods/{id}", delete(methods::remove))
        .route("/v1/users/{user}/methods/{id}/verify", post(methods::verify))
        .route("/v1/users/{user}/recovery-codes", post(methods::recovery_codes))
        .route("/v1/users/{user}/devices", get(devices::list))
        .route("/v1/users/{user}/devices/{id}", delete(devices::revoke))
        .route("/v1/support/cases", get(support::list).post(support::ask))
        .route("/v1/support/cases/{id}/approve", post(support::approve))
        .route("/v1/support/cases/{id}/cancel", post(support::cancel))
        .route("/v1/events", get(events::list))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), idempotency::run_once))
        // Not wrapped by the idempotency layer: a repeated ticket returns the same claims anyway.
        .route("/v1/tickets/redeem", post(proofs::redeem))
        .route("/v1/openapi.json", get(openapi::serve))
        .fallback(|| async { problem::Problem::not_found() })
        .method_not_allowed_fallback(|| async { problem::Problem::method_not_allowed() })
        .with_state(Protected::new(api))
}
