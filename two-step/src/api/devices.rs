//! The endpoints of trusted devices.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::openapi::problems;
use super::problem::Problem;
use super::scope;
use super::users::user_of;

/// A user's trusted devices.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DevicesAnswer {
    /// Newest use first.
    devices: Vec<DeviceAnswer>,
}

/// A trusted device.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceAnswer {
    /// The id, also in the claim `device` of results.
    id: Uuid,
    /// Browser and system.
    label: String,
    /// When it last skipped a second step.
    used_at: Timestamp,
    /// When the trust ends; null: only with sign-out or revocation.
    expires_at: Option<Timestamp>,
}

/// List trusted devices
#[utoipa::path(
    get,
    operation_id = "listDevices",
    path = "/v1/users/{user}/devices",
    tag = "devices",
    params(("user" = String, Path, description = "The product's id of the user")),
    responses((status = 200, description = "The devices", body = DevicesAnswer), ListProblems)
)]
pub(super) async fn list(
    Authorized { api, product, .. }: Authorized<scope::Read>, user: Result<Path<String>, PathRejection>,
) -> Result<Json<DevicesAnswer>, Problem> {
    let (account, _) = api.core.user(&product, &user_of(user)?).await?;
    let trusted = api.core.devices(account.id).await?;
    let devices = trusted.into_iter().map(|(device, trust)| DeviceAnswer {
        id: device.id,
        label: device.label,
        used_at: trust.used_at,
        expires_at: trust.expires_at,
    });
    Ok(Json(DevicesAnswer { devices: devices.collect() }))
}

/// Revoke a device
///
/// Call it at sign-out with the claim `device` of the result.
#[utoipa::path(
    delete,
    operation_id = "revokeDevice",
    path = "/v1/users/{user}/devices/{id}",
    tag = "devices",
    params(
        ("user" = String, Path, description = "The product's id of the user"),
        ("id" = Uuid, Path, description = "The device's id")
    ),
    responses((status = 204, description = "The trust has ended"), RevokeProblems)
)]
pub(super) async fn revoke(
    Authorized { api, product, .. }: Authorized<scope::Manage>,
    path: Result<Path<(String, Uuid)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((user, id)) = path.map_err(|_| Problem::not_found())?;
    if api.core.revoke_at_sign_out(&product, &user, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

problems! {
    ListProblems = [authorized::problems::<scope::Read>(), vec![Problem::not_found()]];
    RevokeProblems = [authorized::problems::<scope::Manage>(), vec![Problem::not_found()]];
}
