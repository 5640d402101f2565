//! The endpoints of users.

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::methods::MethodAnswer;
use super::openapi::problems;
use super::problem::Problem;
use super::{Api, body, idempotency, scope};
use crate::account::AccountState;
use crate::flow::{Author, TurnOnRefused};

pub(super) fn user_of(user: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    user.map(|Path(user)| user).map_err(|_| Problem::not_found())
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserAnswer {
    /// The product's id of the user.
    user: String,
    /// Whether two-step verification is on.
    state: AccountState,
    /// No code is checked before this time.
    paused_until: Option<Timestamp>,
    /// The methods, masked.
    methods: Vec<MethodAnswer>,
    /// The number of unused recovery codes.
    recovery_codes_left: i64,
}

async fn answer(api: &Api, product: &str, user: &str) -> Result<Json<UserAnswer>, Problem> {
    let (account, methods) = api.core.user(product, user).await?;
    let recovery_codes_left = api.core.recovery_codes_left(account.id).await?;
    Ok(Json(UserAnswer {
        user: account.user_ref,
        state: account.state,
        paused_until: account.paused_until,
        methods: methods.iter().map(MethodAnswer::from).collect(),
        recovery_codes_left,
    }))
}

/// Get a user
#[utoipa::path(
    get,
    operation_id = "seeUser",
    path = "/v1/users/{user}",
    tag = "users",
    params(("user" = String, Path, description = "The product's id of the user")),
    responses((status = 200, description = "State and methods", body = UserAnswer), ShowProblems)
)]
pub(super) async fn show(
    Authorized { api, product, .. }: Authorized<scope::Read>, user: Result<Path<String>, PathRejection>,
) -> Result<Json<UserAnswer>, Problem> {
    answer(&api, &product, &user_of(user)?).await
}

/// Erase a user
///
/// Deletes all data of the user: methods, devices, challenges, events.
#[utoipa::path(
    delete,
    operation_id = "eraseUser",
    path = "/v1/users/{user}",
    tag = "users",
    params(("user" = String, Path, description = "The product's id of the user")),
    responses((status = 204, description = "The user is erased"), EraseProblems)
)]
pub(super) async fn erase(
    Authorized { api, product, .. }: Authorized<scope::Manage>, user: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    api.core.erase(&product, &user_of(user)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The parameters of turning on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OnBody {
    /// Active methods that the user has seen and confirmed. All others are removed: while an account is off, anybody with
    /// the password can add methods.
    methods: Vec<Uuid>,
}

/// Turn two-step verification on
///
/// Needs a method that suffices as a second step, and a backup. Changes nothing if it is already on.
#[utoipa::path(
    post,
    operation_id = "turnOn",
    path = "/v1/users/{user}/on",
    tag = "users",
    params(("user" = String, Path, description = "The product's id of the user"), idempotency::KeyParameter),
    request_body = OnBody,
    responses((status = 200, description = "The user", body = UserAnswer), OnProblems)
)]
pub(super) async fn on(
    Authorized { api, product, .. }: Authorized<scope::Manage>, user: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<UserAnswer>, Problem> {
    let user = user_of(user)?;
    let wanted: OnBody = body::read(body).await?;
    match api.core.turn_on_with(&product, &user, &wanted.methods).await? {
        Ok(()) => answer(&api, &product, &user).await,
        Err(TurnOnRefused::BackupMissing) => Err(no_backup()),
        Err(TurnOnRefused::ProofMissing) => Err(Problem::invalid(
            "methods",
            "must contain a method that suffices as a second step, and a backup",
        )),
    }
}

fn no_backup() -> Problem {
    Problem::not_ready("the user needs an active method, and another or recovery codes as a backup")
}

/// The parameters of turning off.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OffBody {
    /// Whether to keep phones for turning on again.
    #[serde(default)]
    keep_phones: bool,
    /// The `jti` of a result for `confirm`. Required while two-step verification is on.
    #[serde(default)]
    proof: Option<Uuid>,
}

/// Turn two-step verification off
///
/// Erases authenticators, recovery codes and devices. Changes nothing if it is already off.
#[utoipa::path(
    post,
    operation_id = "turnOff",
    path = "/v1/users/{user}/off",
    tag = "users",
    params(("user" = String, Path, description = "The product's id of the user"), idempotency::KeyParameter),
    request_body = OffBody,
    responses((status = 200, description = "The user", body = UserAnswer), OffProblems)
)]
pub(super) async fn off(
    Authorized { api, product, .. }: Authorized<scope::Manage>, user: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<UserAnswer>, Problem> {
    let user = user_of(user)?;
    let OffBody { keep_phones, proof } = body::read_or_default(body).await?;
    let author = Author::Product { product: product.clone(), user: user.clone(), proof, display_name: None };
    api.core.turn_off(author, keep_phones).await?;
    answer(&api, &product, &user).await
}

/// The parameters of ending sessions.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndBody {
    /// Whether to end the trust of devices too.
    #[serde(default)]
    forget_devices: bool,
}

/// The number of ended items.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndAnswer {
    /// Open challenges that ended.
    challenges_ended: u64,
    /// Devices whose trust ended.
    devices_forgotten: u64,
}

/// End a user's challenges and sessions
///
/// Call it after a password change.
#[utoipa::path(
    post,
    operation_id = "endUser",
    path = "/v1/users/{user}/end",
    tag = "users",
    params(("user" = String, Path, description = "The product's id of the user"), idempotency::KeyParameter),
    request_body = EndBody,
    responses((status = 200, description = "The number of ended challenges and trusts", body = EndAnswer), EndProblems)
)]
pub(super) async fn end(
    Authorized { api, product, .. }: Authorized<scope::Manage>, user: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<EndAnswer>, Problem> {
    let user = user_of(user)?;
    let wanted: EndBody = body::read_or_default(body).await?;
    let (challenges_ended, devices_forgotten) =
        api.core.end_sessions(&product, &user, wanted.forget_devices).await?;
    Ok(Json(EndAnswer { challenges_ended, devices_forgotten }))
}

problems! {
    ShowProblems = [authorized::problems::<scope::Read>(), vec![Problem::not_found()]];
    EraseProblems = [authorized::problems::<scope::Manage>(), vec![Problem::not_found()]];
    OnProblems = [authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems(), vec![Problem::not_found(), no_backup()]];
    OffProblems = [authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems(), vec![Problem::not_found()]];
    EndProblems = [authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems(), vec![Problem::not_found()]];
}
