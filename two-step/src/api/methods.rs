//! The endpoints of methods, for products with their own pages.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::authorized::{self, Authorized};
use super::challenges::{limited, not_sent};
use super::openapi::problems;
use super::problem::Problem;
use super::proofs::entry_refused;
use super::users::user_of;
use super::{body, idempotency, query, scope};
use crate::flow::{AddRefused, Author, Change, ChangeRefused, Entered, Entry, Requester};
use crate::method::{Channel, Kind, Method, MethodState};
use crate::number::BadNumber;

/// A method, as the product sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MethodAnswer {
    /// Its id.
    id: Uuid,
    /// Its kind.
    kind: Kind,
    /// The state.
    state: MethodState,
    /// The last two digits of a number, or the first letter and the domain of an address.
    hint: String,
    /// The user's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    label: Option<String>,
    /// Whether it is preferred.
    preferred: bool,
}

impl From<&Method> for MethodAnswer {
    fn from(m: &Method) -> Self {
        Self {
            id: m.id,
            kind: m.kind,
            state: m.state,
            hint: m.hint.clone(),
            label: m.label.clone(),
            preferred: m.preferred,
        }
    }
}

/// The method to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum NewMethodBody {
    /// A telephone. Its first code is sent at once. The same request again sends the code again.
    Phone {
        /// The number, as the user typed it.
        target: String,
        /// The country of a national number (ISO 3166). Without it the number begins with `+` or `00`.
        #[serde(default)]
        country: Option<String>,
        /// By text or by call.
        #[serde(default)]
        channel: Option<Channel>,
        /// The `jti` of a result for `confirm`. Required while two-step verification is on.
        #[serde(default)]
        proof: Option<Uuid>,
    },
    /// An authenticator app.
    Totp {
        /// The user's name for the app; default: the product's id of the user.
        #[serde(default)]
        #[schema(max_length = 64)]
        display_name: Option<String>,
        /// The `jti` of a result for `confirm`. Required while two-step verification is on.
        #[serde(default)]
        proof: Option<Uuid>,
    },
    /// A mailbox.
    Email {
        /// The address.
        target: String,
        /// The `jti` of a result for `confirm`. Required while two-step verification is on.
        #[serde(default)]
        proof: Option<Uuid>,
    },
}

/// A pending method.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewMethodAnswer {
    /// Its id.
    id: Uuid,
    /// When the code can be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_send_at: Option<Timestamp>,
    /// The authenticator's key in base32.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<String>,
    /// The same key as an `otpauth` URI, for a QR code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    uri: Option<String>,
}

/// Add a method
///
/// The method is active after its first code was verified.
#[utoipa::path(
    post,
    operation_id = "addMethod",
    path = "/v1/users/{user}/methods",
    tag = "methods",
    params(("user" = String, Path, description = "The product's id of the user"), idempotency::KeyParameter),
    request_body = NewMethodBody,
    responses((status = 201, description = "The pending method", body = NewMethodAnswer), AddProblems)
)]
pub(super) async fn add(
    Authorized { api, product, .. }: Authorized<scope::Manage>, user: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<(StatusCode, Json<NewMethodAnswer>), Problem> {
    let user = user_of(user)?;
    let author = |proof, display_name| Author::Product {
        product: product.clone(),
        user: user.clone(),
        proof,
        display_name,
    };
    let core = &api.core;
    let mut shown = (None, None);
    let challenge = match body::read(body).await? {
        NewMethodBody::Phone { target, country, channel, proof } => {
            let country = country.unwrap_or_default();
            let channel = channel.unwrap_or(Channel::Sms);
            core.add_phone(author(proof, None), &target, &country, channel).await?
        }
        NewMethodBody::Email { target, proof } => core.add_email(author(proof, None), &target).await?,
        NewMethodBody::Totp { display_name, proof } => {
            let added = core.add_authenticator(author(proof, display_name)).await?;
            added.map(|new| {
                shown = (Some((*new.key).clone()), Some((*new.uri).clone()));
                new.challenge
            })
        }
    };
    let snapshot = match challenge {
        Ok(challenge) => core.challenge_snapshot(challenge, &Requester::Product(product)).await?,
        Err(refused) => return Err(not_added(refused)),
    };
    let (key, uri) = shown;
    let id = snapshot.challenge.method.unwrap_or_default();
    let next_send_at = snapshot.challenge.next_send_at;
    Ok((StatusCode::CREATED, Json(NewMethodAnswer { id, next_send_at, key, uri })))
}

fn not_added(refused: AddRefused) -> Problem {
    match refused {
        AddRefused::Number(BadNumber::Country) => {
            Problem::invalid("target", "is a number of a country that is not in `countries`")
        }
        AddRefused::Number(BadNumber::Costly) => {
            Problem::invalid("target", "is a premium or shared-cost number")
        }
        AddRefused::Number(_) => {
            Problem::invalid("target", "is not a telephone number; a national one needs `country`")
        }
        AddRefused::Address => Problem::invalid("target", "is not an e-mail address"),
        AddRefused::Known => Problem::invalid("target", "is already a method of this user"),
        AddRefused::Shared => Problem::invalid("target", "is used by too many accounts"),
        AddRefused::TooMany => Problem::not_ready("the user has three authenticators; remove one first"),
        AddRefused::Send { refused, expires_at, now } => not_sent(refused, now, expires_at),
    }
}

/// The first code of a method.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstCodeBody {
    /// The first code, as it was typed.
    code: String,
}

/// The result of a method's first code.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum FirstCodeAnswer {
    /// The code is right, and the method is active.
    Verified,
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

/// Verify the first code of a method
#[utoipa::path(
    post,
    operation_id = "verifyMethod",
    path = "/v1/users/{user}/methods/{id}/verify",
    tag = "methods",
    params(
        ("user" = String, Path, description = "The product's id of the user"),
        ("id" = Uuid, Path, description = "The method's id"),
        idempotency::KeyParameter
    ),
    request_body = FirstCodeBody,
    responses((status = 200, description = "The result", body = FirstCodeAnswer), FirstCodeProblems)
)]
pub(super) async fn verify(
    Authorized { api, product, .. }: Authorized<scope::Manage>,
    path: Result<Path<(String, Uuid)>, PathRejection>, body: Body,
) -> Result<Json<FirstCodeAnswer>, Problem> {
    let Path((user, method)) = path.map_err(|_| Problem::not_found())?;
    let wanted: FirstCodeBody = body::read(body).await?;
    let challenge = api.core.enrolment_of(&product, &user, method).await?;
    let entry = Entry { text: wanted.code, ..Entry::default() };
    let answer = match api.core.enter(challenge, &Requester::Product(product), &entry).await? {
        Entered::Verified { .. } => FirstCodeAnswer::Verified,
        Entered::Wrong { left, clock_behind_s, .. } => FirstCodeAnswer::Wrong { left, clock_behind_s },
        other => return Err(entry_refused(&other)),
    };
    Ok(Json(answer))
}

/// Remove a method
#[utoipa::path(
    delete,
    operation_id = "removeMethod",
    path = "/v1/users/{user}/methods/{id}",
    tag = "methods",
    params(
        ("user" = String, Path, description = "The product's id of the user"),
        ("id" = Uuid, Path, description = "The method's id"),
        ("proof" = Option<Uuid>, Query, nullable = false,
         description = "The `jti` of a result for `confirm`; required while two-step verification is on")
    ),
    responses((status = 204, description = "The method is removed, and its secrets are erased"), RemoveProblems)
)]
pub(super) async fn remove(
    Authorized { api, product, .. }: Authorized<scope::Manage>,
    path: Result<Path<(String, Uuid)>, PathRejection>, RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    let Path((user, method)) = path.map_err(|_| Problem::not_found())?;
    let [proof] = query::read(query.as_deref(), ["proof"])?;
    let proof =
        proof.map(|p| p.parse()).transpose().map_err(|_| Problem::invalid("proof", "must be a UUID"))?;
    api.core.user(&product, &user).await?;
    let author = Author::Product { product, user, proof, display_name: None };
    match api.core.change(author, method, &Change::Remove).await? {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(ChangeRefused::Last | ChangeRefused::Label) => Err(last()),
    }
}

fn last() -> Problem {
    let detail = "the account would have no method or no backup; add another one first, or turn two-step verification off";
    Problem::not_ready(detail)
}

/// The proof for a change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    /// The `jti` of a result for `confirm`. Required while two-step verification is on.
    #[serde(default)]
    proof: Option<Uuid>,
}

/// A new set of recovery codes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecoveryCodesAnswer {
    /// Show them once, and do not store them.
    codes: Vec<String>,
}

/// Create recovery codes
///
/// Ten codes, each valid once. They replace the earlier ones.
#[utoipa::path(
    post,
    operation_id = "makeRecoveryCodes",
    path = "/v1/users/{user}/recovery-codes",
    tag = "methods",
    params(("user" = String, Path, description = "The product's id of the user"), idempotency::KeyParameter),
    request_body = ProofBody,
    responses((status = 200, description = "The codes", body = RecoveryCodesAnswer), RecoveryProblems)
)]
pub(super) async fn recovery_codes(
    Authorized { api, product, .. }: Authorized<scope::Manage>, user: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<RecoveryCodesAnswer>, Problem> {
    let ProofBody { proof } = body::read_or_default(body).await?;
    let author = Author::Product { product, user: user_of(user)?, proof, display_name: None };
    let codes = api.core.create_recovery_codes(author).await?;
    Ok(Json(RecoveryCodesAnswer { codes: codes.iter().map(|code| (**code).clone()).collect() }))
}

problems! {
    AddProblems = [
        authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems(), vec![Problem::not_found(), limited(), Problem::not_ready("three")],
    ];
    FirstCodeProblems = [
        authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems(),
        vec![
            Problem::not_found(), limited(), Problem::locked("too many wrong codes; the account is paused", 60),
            Problem::ended("expired"),
        ],
    ];
    RemoveProblems = [
        authorized::problems::<scope::Manage>(), vec![Problem::not_found(), Problem::invalid("proof", "must be a UUID"), last()],
    ];
    RecoveryProblems = [authorized::problems::<scope::Manage>(), body::problems(), idempotency::problems(), vec![Problem::not_found(), limited()]];
}
