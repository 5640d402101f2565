//! Sessions: a back end sends a user to the settings pages.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::key::Scope;
use super::problem::Problem;
use super::{Api, body};
use crate::flow::NewSession;
use crate::store::SessionPurpose;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionBody {
    user: String,
    purpose: String,
    password_at: Timestamp,
    return_url: String,
    state: Option<String>,
    display_name: Option<String>,
    client_ip: Option<IpAddr>,
    locale: Option<String>,
}

/// `POST /v1/sessions`
pub(super) async fn create(
    State(api): State<Arc<Api>>, headers: HeaderMap, body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let product = api.product(&headers, Scope::Manage).await?;
    let wanted: SessionBody = body::read(body).await?;
    let purpose: SessionPurpose =
        wanted.purpose.parse().map_err(|_| Problem::invalid("purpose", "is set_up or settings"))?;
    let new = NewSession {
        user: wanted.user,
        purpose,
        password_at: wanted.password_at,
        return_url: wanted.return_url,
        state: wanted.state,
        display_name: wanted.display_name,
        locale: wanted.locale,
        client_ip: wanted.client_ip,
    };
    let opened = api.core.open_session(&product, new).await?;
    Ok((StatusCode::CREATED, Json(json!({"url": opened.url, "expires_at": opened.expires_at}))))
}
