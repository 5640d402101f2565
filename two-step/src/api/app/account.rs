//! Lets an app read and change its own account.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::register::{Product, bad_key, unsigned};
use crate::api::body;
use crate::api::openapi::problems;
use crate::api::problem::Problem;
use crate::flow::KeyRefused;
use crate::method::MethodState;
use crate::public_key::PublicKey;
use crate::push::{Endpoint, Vapid};

/// An app's account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountAnswer {
    /// The id of this app's method.
    account: Uuid,
    /// The product that the app is for.
    product: Product,
    /// The user's name at the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
    /// `pending` until the user has typed the six digits on the settings page.
    state: MethodState,
    /// Whether the app has set a push endpoint.
    push: bool,
    /// The `applicationServerKey` of a Web Push subscription; absent if this server sends no pushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    push_key: Option<String>,
}

/// See the account
#[utoipa::path(
    get,
    operation_id = "seeAppAccount",
    path = "/app/v1/account",
    tag = "app",
    responses((status = 200, description = "The account", body = AccountAnswer), SeeProblems)
)]
pub(super) async fn show(
    State(app): State<Arc<App>>, request: Request,
) -> Result<Json<AccountAnswer>, Problem> {
    let (call, _) = app.call(request).await?;
    let account = app.core.app_account(&call).await?;
    let config = app.core.config();
    Ok(Json(AccountAnswer {
        account: account.method.id,
        product: Product::of(account.product, &config),
        user: account.display_name,
        state: account.method.state,
        push: account.has_push,
        push_key: config.app.push.then(|| Vapid::of(&app.core.keys).public().to_owned()),
    }))
}

/// Unregister
///
/// Erases the key and removes the method. If the account needs the method, it is paused instead. Phones and e-mail
/// addresses get a notice.
#[utoipa::path(
    delete,
    operation_id = "unregisterApp",
    path = "/app/v1/account",
    tag = "app",
    responses((status = 204, description = "The app is unregistered"), SeeProblems)
)]
pub(super) async fn unregister(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Problem> {
    let (call, _) = app.call(request).await?;
    app.core.unregister_app(&call).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyBody {
    /// The new public key.
    public_key: PublicKey,
    /// The new key's signature (ECDSA P-256, SHA-256; 64 bytes, base64url) over the ASCII text `rekey:<old thumbprint>:<new
    /// thumbprint>`.
    proof: String,
}

/// Change the key
///
/// The old key signs this request, and the new one signs `proof`. After the answer, only the new key is valid.
#[utoipa::path(
    put,
    operation_id = "changeAppKey",
    path = "/app/v1/key",
    tag = "app",
    request_body = KeyBody,
    responses((status = 204, description = "The key was replaced"), KeyProblems)
)]
pub(super) async fn change_key(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Problem> {
    let (call, body) = app.call(request).await?;
    let wanted: KeyBody = body::parse(&body)?;
    match app.core.change_app_key(&call, &wanted.public_key, &wanted.proof).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(KeyRefused::Key) => Err(bad_key()),
        Err(KeyRefused::Proof) => Err(bad_proof()),
    }
}

fn bad_proof() -> Problem {
    Problem::invalid(
        "proof",
        "must be the new key's signature over `rekey:<old thumbprint>:<new thumbprint>`",
    )
}

/// The push endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PushBody {
    /// The endpoint of a Web Push subscription (RFC 8030); null: no pushes.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required)]
    endpoint: Option<String>,
}

/// Set the push endpoint
///
/// A push has no body. It wakes the app, which then fetches its requests.
#[utoipa::path(
    put,
    operation_id = "setAppPush",
    path = "/app/v1/push",
    tag = "app",
    request_body = PushBody,
    responses((status = 204, description = "The push endpoint was stored"), PushProblems)
)]
pub(super) async fn set_push(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Problem> {
    let (call, body) = app.call(request).await?;
    let wanted: PushBody = body::parse(&body)?;
    let config = app.core.config();
    let endpoint = match &wanted.endpoint {
        Some(text) => Some(Endpoint::read(text, &config).ok_or_else(bad_endpoint)?),
        None => None,
    };
    app.core.set_push(&call, endpoint.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn bad_endpoint() -> Problem {
    Problem::invalid(
        "endpoint",
        "must be an https URL at a push service that this server allows (app.push_hosts)",
    )
}

problems! {
    SeeProblems = [unsigned()];
    KeyProblems = [body::problems(), unsigned(), vec![bad_key(), bad_proof()]];
    PushProblems = [body::problems(), unsigned(), vec![bad_endpoint()]];
}
