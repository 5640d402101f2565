//! The endpoints of challenges: create, show, send, cancel.

use std::net::IpAddr;

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
use crate::app_request::RequestState;
use crate::challenge::{ChallengeState, Purpose, SendRefused};
use crate::clock::seconds_until;
use crate::flow::{ChallengeSnapshot, Created, MailState, NewChallenge, Requester};
use crate::method::Channel;
use crate::store::DispatchState;

/// The parameters of a challenge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewChallengeBody {
    /// The product's id of the user: 1 to 128 characters, none of them a control character or `@`.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^@\u0000-\u001f\u007f-\u009f]+$")]
    user: String,
    /// The purpose; default: `sign_in`.
    #[serde(default)]
    purpose: Wanted,
    /// The return URL: an entry of the product's `return_urls`. Without it the challenge is used over the API only.
    return_url: Option<String>,
    /// Returned unchanged in the return URL.
    #[schema(max_length = 512)]
    state: Option<String>,
    /// Returned unchanged in the result.
    #[schema(max_length = 512)]
    nonce: Option<String>,
    /// The browser's address, for rate limits. Only without pages.
    #[schema(value_type = Option<String>)]
    client_ip: Option<IpAddr>,
    /// Language of pages and messages: a BCP 47 tag.
    #[schema(max_length = 35)]
    locale: Option<String>,
    /// The device token from an earlier `verify` of a trusted device. Only without pages.
    device_token: Option<String>,
    /// Browser and system, for the list of devices. Only without pages.
    #[schema(min_length = 1, max_length = 40)]
    device_label: Option<String>,
    /// The location of the browser, if you know it. The app shows it.
    #[schema(min_length = 1, max_length = 40, example = "Leeds, GB")]
    place: Option<String>,
}

/// The purpose of a challenge.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    /// To sign in.
    #[default]
    SignIn,
    /// To confirm an action. A trusted device does not skip it.
    Confirm,
}

/// Whether a second step is required.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Need {
    /// The account is off: the password suffices.
    NotRequired,
    /// Required. Send the browser to `url`, or use `send` and `verify`.
    Created,
    /// The device of `device_token` is trusted. The answer has a `result`.
    Verified,
}

/// The created challenge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreatedAnswer {
    /// Whether a second step is required.
    status: Need,
    /// The challenge's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<Uuid>,
    /// The URL for the browser. Its secret works for one browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    url: Option<String>,
    /// When the challenge expires unless a browser opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expires_at: Option<Timestamp>,
    /// The signed result (JWT).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    result: Option<String>,
    /// The new device token. Store it instead of the one that you sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    device_token: Option<String>,
}

/// A challenge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChallengeAnswer {
    /// Its id.
    id: Uuid,
    /// The state.
    status: ChallengeState,
    /// Its purpose.
    purpose: Purpose,
    /// The methods that can prove the challenge.
    methods: Vec<MethodAnswer>,
    /// The method that the page shows.
    method: Option<Uuid>,
    /// The number of codes that can still be sent.
    sends_left: u32,
    /// No code is sent before this time.
    next_send_at: Option<Timestamp>,
    /// The state of the newest text or call.
    delivery: Option<DispatchState>,
    /// When the challenge expires.
    expires_at: Timestamp,
    /// The request to the app, if the method is an app.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app: Option<AppRequestAnswer>,
}

/// A request to the product's app.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AppRequestAnswer {
    /// The state.
    state: RequestState,
    /// The digits to show. The user types them into the app. Only while the request is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    digits: Option<String>,
}

pub(super) fn id_of(id: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::not_found())
}

/// Create a challenge
///
/// For an account that is off the answer is `not_required`.
#[utoipa::path(
    post,
    operation_id = "createChallenge",
    path = "/v1/challenges",
    tag = "challenges",
    params(idempotency::KeyParameter),
    request_body = NewChallengeBody,
    responses((status = 201, description = "The challenge", body = CreatedAnswer), CreateProblems)
)]
pub(super) async fn create(
    Authorized { api, product, .. }: Authorized<scope::Challenge>, body: Body,
) -> Result<(StatusCode, Json<CreatedAnswer>), Problem> {
    let wanted: NewChallengeBody = body::read(body).await?;
    let new = NewChallenge {
        user: wanted.user,
        confirm: wanted.purpose == Wanted::Confirm,
        return_url: wanted.return_url,
        state: wanted.state,
        nonce: wanted.nonce,
        client_ip: wanted.client_ip,
        locale: wanted.locale,
        device_token: wanted.device_token,
        device_label: wanted.device_label,
        place: wanted.place,
    };
    let none = CreatedAnswer {
        status: Need::NotRequired,
        id: None,
        url: None,
        expires_at: None,
        result: None,
        device_token: None,
    };
    let answer = match api.core.create(&product, new).await? {
        Created::NotRequired => none,
        Created::Challenge { id, url, expires_at, device_token } => CreatedAnswer {
            status: Need::Created,
            id: Some(id),
            url: Some(url),
            expires_at: Some(expires_at),
            device_token,
            ..none
        },
        Created::Trusted { id, result, device_token } => {
            CreatedAnswer { status: Need::Verified, id: Some(id), result: Some(result), device_token, ..none }
        }
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Get a challenge
#[utoipa::path(
    get,
    operation_id = "seeChallenge",
    path = "/v1/challenges/{id}",
    tag = "challenges",
    params(("id" = Uuid, Path, description = "The challenge's id")),
    responses((status = 200, description = "The challenge", body = ChallengeAnswer), ShowProblems)
)]
pub(super) async fn show(
    Authorized { api, product, .. }: Authorized<scope::Challenge>, id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<ChallengeAnswer>, Problem> {
    let snapshot = api.core.challenge_snapshot(id_of(id)?, &Requester::Product(product)).await?;
    Ok(Json(describe(&api, &snapshot)))
}

fn describe(api: &Api, snapshot: &ChallengeSnapshot) -> ChallengeAnswer {
    let email = api.core.config().email.second_step;
    ChallengeAnswer {
        id: snapshot.challenge.id,
        status: snapshot.challenge.state,
        purpose: snapshot.challenge.purpose,
        methods: snapshot
            .methods
            .iter()
            .filter(|m| snapshot.may_prove(m, email))
            .map(MethodAnswer::from)
            .collect(),
        method: snapshot.challenge.method,
        sends_left: snapshot.challenge.sends_left(&api.core.config().limits),
        next_send_at: snapshot.challenge.next_send_at,
        delivery: snapshot.mail.map(mail_delivery).or(snapshot.dispatch.as_ref().map(|d| d.state)),
        expires_at: snapshot.challenge.expires_at,
        app: snapshot.request.as_ref().map(|request| AppRequestAnswer {
            state: request.state,
            digits: request.is_open().then(|| api.core.app_digits(request.id)),
        }),
    }
}

/// Returns the state of a mail in the terms of texts and calls.
fn mail_delivery(mail: MailState) -> DispatchState {
    match mail {
        MailState::Waiting { .. } => DispatchState::Waiting,
        MailState::Sent => DispatchState::Sent,
        MailState::Refused => DispatchState::Failed,
    }
}

/// The parameters of a send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SendBody {
    /// The method's id.
    method: Uuid,
    /// By text or by call; default: the phone's own setting.
    channel: Option<Channel>,
}

/// Send a code
///
/// While a code is live, the same one is sent again. For an authenticator nothing is sent, but its codes are accepted from
/// now on. For the product's app the answer has the digits that the user types into it.
#[utoipa::path(
    post,
    operation_id = "sendCode",
    path = "/v1/challenges/{id}/send",
    tag = "challenges",
    params(("id" = Uuid, Path, description = "The challenge's id"), idempotency::KeyParameter),
    request_body = SendBody,
    responses((status = 202, description = "The code was accepted for sending", body = ChallengeAnswer), SendProblems)
)]
pub(super) async fn send(
    Authorized { api, product, .. }: Authorized<scope::Challenge>, id: Result<Path<Uuid>, PathRejection>,
    body: Body,
) -> Result<(StatusCode, Json<ChallengeAnswer>), Problem> {
    let who = Requester::Product(product);
    let wanted: SendBody = body::read(body).await?;
    let id = id_of(id)?;
    let (sent, snapshot) = api.core.send_and_snapshot(id, &who, Some(wanted.method), wanted.channel).await?;
    match sent {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(describe(&api, &snapshot)))),
        Err(refused) => Err(not_sent(refused, snapshot.now, snapshot.challenge.expires_at)),
    }
}

/// Why a code is not sent. `expires_at` is when the challenge expires.
pub(super) fn not_sent(refused: SendRefused, now: Timestamp, expires_at: Timestamp) -> Problem {
    match refused {
        SendRefused::Limited { until } => {
            Problem::limited("it is too early for the next code", seconds_until(now, until))
        }
        SendRefused::UsedUp => {
            Problem::limited("no sends are left in this challenge", seconds_until(now, expires_at))
        }
        SendRefused::Ended(state) => Problem::ended(state.into()),
        SendRefused::Method => {
            Problem::invalid("method", "is not active, or cannot receive a code by this channel")
        }
    }
}

/// Cancel a challenge
///
/// Texts and calls that were not sent yet are cancelled.
#[utoipa::path(
    post,
    operation_id = "cancelChallenge",
    path = "/v1/challenges/{id}/cancel",
    tag = "challenges",
    params(("id" = Uuid, Path, description = "The challenge's id"), idempotency::KeyParameter),
    responses((status = 200, description = "The challenge", body = ChallengeAnswer), CancelProblems)
)]
pub(super) async fn cancel(
    Authorized { api, product, .. }: Authorized<scope::Challenge>, id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<ChallengeAnswer>, Problem> {
    let who = Requester::Product(product);
    let id = id_of(id)?;
    api.core.cancel(id, &who).await?;
    let snapshot = api.core.challenge_snapshot(id, &who).await?;
    Ok(Json(describe(&api, &snapshot)))
}

problems! {
    CreateProblems = [authorized::problems::<scope::Challenge>(), body::problems(), idempotency::problems()];
    ShowProblems = [authorized::problems::<scope::Challenge>(), vec![Problem::not_found()]];
    CancelProblems = [authorized::problems::<scope::Challenge>(), idempotency::problems(), vec![Problem::not_found()]];
    SendProblems = [
        authorized::problems::<scope::Challenge>(), body::problems(), idempotency::problems(), vec![Problem::not_found(), limited(), Problem::ended("expired")],
    ];
}

/// Returns the problem of a reached limit.
pub(super) fn limited() -> Problem {
    Problem::limited("a rate limit is reached", 30)
}
