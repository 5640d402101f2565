//! The endpoint that opens sessions of the settings pages.

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authorized::{self, Authorized};
use super::openapi::problems;
use super::problem::Problem;
use super::{body, idempotency, scope};
use crate::flow::NewSession;
use crate::store::SessionPurpose;

/// The parameters of a session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionBody {
    /// The product's id of the user: 1 to 128 characters, none of them a control character or `@`.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^@\u0000-\u001f\u007f-\u009f]+$")]
    user: String,
    /// The purpose of the session.
    purpose: SessionPurpose,
    /// When the user typed the password. At most 10 minutes ago.
    password_at: Timestamp,
    /// The return URL: an entry of the product's `return_urls`.
    return_url: String,
    /// Returned unchanged in the return URL.
    #[schema(max_length = 512)]
    state: Option<String>,
    /// The user's name, for authenticator apps.
    #[schema(max_length = 64)]
    display_name: Option<String>,
    /// The browser's address, for rate limits.
    #[schema(value_type = Option<String>)]
    client_ip: Option<IpAddr>,
    /// Language of pages and messages: a BCP 47 tag.
    #[schema(max_length = 35)]
    locale: Option<String>,
    /// The user's e-mail address, validated by the product. Used while two-step verification is off: notices and
    /// codes from support are sent there.
    #[schema(max_length = 254)]
    email: Option<String>,
}

/// The opened session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionAnswer {
    /// The URL for the browser. Its secret works for one browser.
    url: String,
    /// When it expires unless a browser opens it.
    expires_at: Timestamp,
}

/// Open a session of the settings
#[utoipa::path(
    post,
    operation_id = "openSession",
    path = "/v1/sessions",
    tag = "sessions",
    params(idempotency::KeyParameter),
    request_body = SessionBody,
    responses((status = 201, description = "The URL of the settings", body = SessionAnswer), SessionProblems)
)]
pub(super) async fn create(
    Authorized { api, product, .. }: Authorized<scope::Manage>, body: Body,
) -> Result<(StatusCode, Json<SessionAnswer>), Problem> {
    let wanted: SessionBody = body::read(body).await?;
    let new = NewSession {
        user: wanted.user,
        purpose: wanted.purpose,
        password_at: wanted.password_at,
        return_url: wanted.return_url,
        state: wanted.state,
        display_name: wanted.display_name,
        locale: wanted.locale,
        client_ip: wanted.client_ip,
        email: wanted.email,
    };
    let opened = api.core.open_session(&product, new).await?;
    Ok((StatusCode::CREATED, Json(SessionAnswer { url: opened.url, expires_at: opened.expires_at })))
}

problems! {
    SessionProblems = [authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems()];
}
