//! The endpoints that verify codes and redeem tickets.

use axum::Json;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::challenges::{id_of, limited};
use super::openapi::problems;
use super::problem::Problem;
use super::{body, idempotency, scope};
use crate::challenge::ChallengeState;
use crate::clock::seconds_until;
use crate::flow::{Entered, Entry, Redeemed, Requester};

/// The code to verify.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    /// The code as the user typed it: six digits, or a recovery code. Omit it if the user confirmed in the product's app.
    code: Option<String>,
    /// The method that your page shows, if it is not the one of the last sent code.
    method: Option<Uuid>,
    /// Whether to trust the device.
    #[serde(default)]
    trust: bool,
    /// The device token from an earlier answer.
    device_token: Option<String>,
}

/// The result of verifying a code.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum VerifyAnswer {
    /// The code is right.
    Verified {
        /// The signed result (JWT).
        result: String,
        /// The device token. Store it for this device, if the device is trusted.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        device_token: Option<String>,
        /// The new recovery code, which replaces the used one. Show it to the user.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        recovery_code: Option<String>,
    },
    /// The code is wrong.
    Wrong {
        /// Entries left.
        left: u32,
        /// Seconds that the authenticator's clock is behind, if that is the cause.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        clock_behind_s: Option<i64>,
    },
}

/// Verify a code
///
/// The same right six digits get the same result again for a minute. Without `code` the answer is the result of a
/// confirmation in the product's app.
#[utoipa::path(
    post,
    operation_id = "verifyCode",
    path = "/v1/challenges/{id}/verify",
    tag = "challenges",
    params(("id" = Uuid, Path, description = "The challenge's id"), idempotency::KeyParameter),
    request_body = VerifyBody,
    responses((status = 200, description = "The result", body = VerifyAnswer), VerifyProblems)
)]
pub(super) async fn verify(
    Authorized { api, product, .. }: Authorized<scope::Challenge>, id: Result<Path<Uuid>, PathRejection>,
    body: Body,
) -> Result<Json<VerifyAnswer>, Problem> {
    let wanted: VerifyBody = body::read(body).await?;
    let id = id_of(id)?;
    let Some(code) = wanted.code else {
        let approved = api.core.approved(id, &product, wanted.trust, wanted.device_token).await?;
        return match approved {
            Some(Entered::Verified { cookie, result: Some(result), .. }) => {
                Ok(Json(VerifyAnswer::Verified { result, device_token: cookie, recovery_code: None }))
            }
            Some(entered) => Err(entry_refused(&entered)),
            None => Err(not_confirmed()),
        };
    };
    let entry =
        Entry { text: code, method: wanted.method, trust: wanted.trust, device_token: wanted.device_token };
    let entered = api.core.enter(id, &Requester::Product(product), &entry).await?;
    match entered {
        // The first code of a method has its own endpoint.
        Entered::Verified { result: None, .. } => Err(Problem::not_found()),
        Entered::Verified { cookie, new_recovery_code, result: Some(result), .. } => {
            let recovery_code = new_recovery_code.map(|code| (*code).clone());
            Ok(Json(VerifyAnswer::Verified { result, device_token: cookie, recovery_code }))
        }
        Entered::Wrong { left, clock_behind_s, .. } => Ok(Json(VerifyAnswer::Wrong { left, clock_behind_s })),
        other => Err(entry_refused(&other)),
    }
}

fn not_confirmed() -> Problem {
    Problem::not_ready("the app has not approved the request yet: send `code`, or retry later")
}

/// Returns the problem of an entry that was not checked.
pub(super) fn entry_refused(entered: &Entered) -> Problem {
    match entered {
        Entered::Paused { until, now } => {
            Problem::locked("too many wrong codes; the account is paused", seconds_until(*now, *until))
        }
        Entered::Ended { state: ChallengeState::Locked, paused_s } => {
            Problem::locked("too many wrong codes; create a new challenge", paused_s.unwrap_or_default())
        }
        Entered::Ended { state, .. } => Problem::ended((*state).into()),
        _ => Problem::invalid(
            "code",
            "must be six digits, a recovery code, or an eight-digit support code; this entry was not counted",
        ),
    }
}

/// The ticket of a return URL.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemBody {
    /// The ticket, unchanged.
    ticket: String,
}

/// The result of a redeemed ticket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedeemAnswer {
    /// The signed result (JWT).
    result: String,
}

/// Redeem a ticket
///
/// Redeeming it again within a minute returns the same claims.
#[utoipa::path(
    post,
    operation_id = "redeemTicket",
    path = "/v1/tickets/redeem",
    tag = "challenges",
    request_body = RedeemBody,
    responses((status = 200, description = "The result", body = RedeemAnswer), RedeemProblems)
)]
pub(super) async fn redeem(
    Authorized { api, product, .. }: Authorized<scope::Challenge>, body: Body,
) -> Result<Json<RedeemAnswer>, Problem> {
    let wanted: RedeemBody = body::read(body).await?;
    match api.core.redeem(&product, &wanted.ticket).await? {
        Redeemed::Result(result) => Ok(Json(RedeemAnswer { result })),
        Redeemed::Over => Err(Problem::gone()),
    }
}

problems! {
    VerifyProblems = [
        authorized::problems::<scope::Challenge>(), body::problems(), idempotency::problems(),
        vec![
            Problem::not_found(), limited(), Problem::locked("too many wrong codes; the account is paused", 60),
            Problem::ended("expired"),
        ],
        vec![not_confirmed()],
    ];
    RedeemProblems = [authorized::problems::<scope::Challenge>(), body::problems(), vec![Problem::gone()]];
}
