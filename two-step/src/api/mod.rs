//! The API for back ends: JSON over HTTP, a bearer key bound to one product. Handlers read requests, call the flows and write
//! answers; nothing is decided here.

mod body;
mod challenges;
mod key;
mod problem;
mod sessions;
pub(crate) mod support;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::flow::Core;
pub use key::{NewKey, Scope};

/// What all handlers share.
pub struct Api {
    core: Arc<Core>,
}

/// The routes of the API.
pub fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/v1/challenges", post(challenges::create))
        .route("/v1/challenges/{id}", get(challenges::show))
        .route("/v1/challenges/{id}/send", post(challenges::send))
        .route("/v1/challenges/{id}/verify", post(challenges::verify))
        .route("/v1/challenges/{id}/cancel", post(challenges::cancel))
        .route("/v1/tickets/redeem", post(challenges::redeem))
        .route("/v1/sessions", post(sessions::create))
        .route("/v1/users/{user}", get(users::show).delete(users::erase))
        .route("/v1/users/{user}/end", post(users::end))
        .route("/v1/users/{user}/devices", get(users::devices))
        .route("/v1/users/{user}/devices/{id}", axum::routing::delete(users::revoke))
        .route("/v1/support/cases", get(support::list).post(support::ask))
        .route("/v1/support/cases/{id}/approve", post(support::approve))
        .route("/v1/support/cases/{id}/cancel", post(support::cancel))
        .route("/v1/events", get(users::events))
        .fallback(|| async { problem::Problem::not_found() })
        .method_not_allowed_fallback(|| async { problem::Problem::method_not_allowed() })
        .with_state(Arc::new(Api { core }))
}
