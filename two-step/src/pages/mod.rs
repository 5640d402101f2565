//! The pages. In: requests of browsers. Out: pages and redirects. Handlers call the flows and fill the views, and make no
//! decisions.

mod answer;
mod app_set_up;
mod ask_app;
mod authenticator;
mod delivery;
mod email;
mod form;
mod history;
mod methods;
mod own_app;
mod policy;
mod set_up;
mod settings;
mod sign_in;
mod stop;
pub mod view;
mod view_values;
mod visitor;
mod ways;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::flow::Core;

/// The state that all handlers share.
pub struct Pages {
    core: Arc<Core>,
    /// An origin that may frame the pages. Only the demo sets it.
    framed_by: Option<String>,
}

impl Pages {
    /// Creates the pages.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, framed_by: None }
    }

    /// Lets the demo's page frame the pages.
    pub fn framed_by(core: Arc<Core>, origin: String) -> Self {
        Self { core, framed_by: Some(origin) }
    }

    /// The routes.
    pub fn router(self) -> Router {
        let pages = Arc::new(self);
        Router::new()
            .route("/c/{handle}", get(sign_in::claim))
            .route("/challenge/{id}", get(sign_in::show).post(sign_in::enter))
            .route("/challenge/{id}/status", get(delivery::status))
            .route("/challenge/{id}/send", post(sign_in::send))
            .route("/challenge/{id}/ways", get(ways::ways).post(ways::choose))
            .route("/challenge/{id}/cancel", post(sign_in::cancel))
            .route("/challenge/{id}/lost", post(sign_in::lost))
            .route("/challenge/{id}/app", post(ask_app::confirm))
            .route("/s/{handle}", get(settings::claim))
            .route("/settings", get(settings::home))
            .route("/settings/proof", post(settings::prove))
            .route("/settings/leave", post(settings::leave))
            .route("/settings/on", get(set_up::ask_on).post(set_up::turn_on))
            .route("/settings/off", get(settings::ask_off).post(settings::turn_off))
            .route("/settings/phone", get(set_up::ask_phone).post(set_up::add_phone))
            .route("/settings/phone/{method}", get(set_up::phone_code).post(set_up::enter_phone_code))
            .route("/settings/phone/{method}/status", get(set_up::phone_status))
            .route("/settings/email/status", get(email::email_status))
            .route("/settings/phone/{method}/again", post(set_up::phone_again))
            .route(
                "/settings/authenticator",
                get(authenticator::authenticator).post(authenticator::enter_authenticator),
            )
            .route("/settings/app", get(app_set_up::ask_app).post(app_set_up::enter_app))
            .route("/settings/email", get(email::ask_email).post(email::email))
            .route(
                "/settings/recovery-codes",
                get(set_up::recovery_codes).post(set_up::create_recovery_codes),
            )
            .route("/settings/recovery-codes/saved", post(set_up::recovery_codes_saved))
            .route("/settings/methods/{id}", get(methods::show).post(methods::change))
            .route("/settings/methods/{id}/remove", get(methods::ask_remove))
            .route("/settings/devices", get(settings::devices).post(settings::revoke))
            .route("/settings/history", get(history::history))
            .route("/app", get(own_app::shell))
            .route("/app/manifest.webmanifest", get(own_app::manifest))
            .route("/app/icon", get(own_app::icon))
            .route("/app/{name}", get(own_app::file))
            .route("/stop/{token}", get(stop::show).post(stop::stop))
            .route("/assets/{name}", get(asset))
            .route("/.well-known/jwks.json", get(jwks))
            .fallback(answer::no_page)
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&pages), answer::no_raw_errors))
            .with_state(Arc::clone(&pages))
            .merge(crate::api::app::router(Arc::clone(&pages.core)))
    }
}

async fn asset(Path(name): Path<String>) -> Response {
    match view::assets::find(&name) {
        // The name has a version, so the content never changes.
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, asset.body).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn jwks(State(pages): State<Arc<Pages>>) -> Response {
    match pages.core.published_keys().await {
        Ok(keys) => {
            let headers = [(header::CACHE_CONTROL, "public, max-age=300")];
            (headers, axum::Json(crate::result::jwks(&keys))).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
