//! Registers an app with the set-up code of the settings page.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{App, Signed};
use crate::api::body;
use crate::api::openapi::problems;
use crate::api::problem::Problem;
use crate::clock::seconds_until;
use crate::config::Config;
use crate::flow::{AppRefused, NewAppKey, RegisterRefused};
use crate::public_key::PublicKey;
use crate::signature::BadSignature;

/// A registration.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    /// The set-up code as the user typed it. Spaces, dashes and case do not matter.
    #[schema(example = "7K2M-9QX0")]
    code: String,
    /// The app's new public key. It also signs this request.
    public_key: PublicKey,
    /// The phone's name, cut to 40 characters. The user can change it.
    #[serde(default)]
    #[schema(example = "Pixel 9")]
    name: String,
}

/// A product, as an app shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Product {
    /// Its name in the configuration.
    id: String,
    /// Its name for people.
    name: String,
}

impl Product {
    pub(super) fn of(id: String, config: &Config) -> Self {
        let name = config.product(&id).map_or_else(|| id.clone(), |p| p.name.clone());
        Self { id, name }
    }
}

/// A registered app. The user must type its digits on the settings page.
#[derive(Serialize, ToSchema)]
pub(super) struct RegisterAnswer {
    /// The id of this app's method. `GET /v1/users/{user}` shows the same id.
    account: Uuid,
    /// The product that the app is for.
    product: Product,
    /// The user's name at the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user: Option<String>,
    /// Six digits, which the user types on the settings page.
    digits: String,
    /// When the digits expire.
    expires_at: Timestamp,
}

/// Register
///
/// The same app may repeat the request while its digits are valid, and gets the same answer. The user then types the
/// digits on the settings page. `GET /app/v1/account` shows when that is done.
#[utoipa::path(
    post,
    operation_id = "registerApp",
    path = "/app/v1/register",
    tag = "app",
    request_body = RegisterBody,
    responses((status = 201, description = "Registered. Show the digits", body = RegisterAnswer), RegisterProblems)
)]
pub(super) async fn register(
    State(app): State<Arc<App>>, request: Request,
) -> Result<(StatusCode, Json<RegisterAnswer>), Problem> {
    let signed = Signed::read(request).await?;
    let wanted: RegisterBody = body::parse(&signed.body)?;
    let client = signed.client(&app.core);
    let new = NewAppKey { code: wanted.code, public: wanted.public_key, name: wanted.name, client };
    let config = app.core.config();
    let registered = app.core.register_app(&signed.request(config.public_url.authority()), &new).await?;
    let registered = registered.map_err(|refused| match refused {
        RegisterRefused::Call(refused) => refused.into(),
        RegisterRefused::Code => Problem::set_up_code(),
        RegisterRefused::Key => bad_key(),
        RegisterRefused::Limited { until, now } => too_many(seconds_until(now, until)),
    })?;
    let answer = RegisterAnswer {
        account: registered.method,
        product: Product::of(registered.product, &config),
        user: registered.display_name,
        digits: registered.digits.expose().to_owned(),
        expires_at: registered.until,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(super) fn bad_key() -> Problem {
    Problem::invalid("public_key", "must be a P-256 key that no other app uses: a JWK with kty, crv, x and y")
}

fn too_many(retry_after_s: u64) -> Problem {
    Problem::limited("too many set-up codes were entered from this address", retry_after_s)
}

/// The problems of every signed request.
pub(super) fn unsigned() -> Vec<Problem> {
    vec![
        Problem::signature(BadSignature::Wrong),
        Problem::unknown_key(),
        Problem::clock(Timestamp::UNIX_EPOCH),
        Problem::replayed(),
        Problem::from(AppRefused::TooOften),
    ]
}

problems! {
    RegisterProblems = [body::problems(), unsigned(), vec![Problem::set_up_code(), bad_key(), too_many(60)]];
}
