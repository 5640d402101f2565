//! Challenges and tickets.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::key::Scope;
use super::problem::Problem;
use super::{Api, body};
use crate::challenge::SendRefused;
use crate::clock::seconds_until;
use crate::flow::{Created, Entered, Entry, Look, NewChallenge, Redeemed, Who};
use crate::method::{Channel, Method};

/// What a back end asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    user: String,
    #[serde(default)]
    purpose: Purpose,
    return_url: Option<String>,
    state: Option<String>,
    nonce: Option<String>,
    client_ip: Option<IpAddr>,
    locale: Option<String>,
}

/// What a proof is wanted for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    #[default]
    SignIn,
    Confirm,
}

/// A challenge that was created.
#[derive(Debug, Serialize)]
pub(super) struct CreateAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// A method as the product may see it.
#[derive(Debug, Serialize)]
pub(super) struct MethodAnswer {
    id: Uuid,
    kind: &'static str,
    state: &'static str,
    hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    preferred: bool,
}

impl From<&Method> for MethodAnswer {
    fn from(m: &Method) -> Self {
        Self {
            id: m.id,
            kind: m.kind.into(),
            state: m.state.into(),
            hint: m.hint.clone(),
            label: m.label.clone(),
            preferred: m.preferred,
        }
    }
}

fn id_of(id: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::not_found())
}

/// `POST /v1/challenges`
pub(super) async fn create(
    State(api): State<Arc<Api>>, headers: HeaderMap, body: Body,
) -> Result<(StatusCode, Json<CreateAnswer>), Problem> {
    let product = api.product(&headers, Scope::Challenge).await?;
    let wanted: CreateBody = body::read(body).await?;
    let new = NewChallenge {
        user: wanted.user,
        confirm: wanted.purpose == Purpose::Confirm,
        return_url: wanted.return_url,
        state: wanted.state,
        nonce: wanted.nonce,
        client_ip: wanted.client_ip,
        locale: wanted.locale,
    };
    let answer = match api.core.create(&product, new).await? {
        Created::NotRequired => {
            CreateAnswer { id: None, status: "not_required", url: None, expires_at: None }
        }
        Created::Challenge { id, url, expires_at } => {
            CreateAnswer { id: Some(id), status: "created", url: Some(url), expires_at: Some(expires_at) }
        }
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// `GET /v1/challenges/{id}`
pub(super) async fn show(
    State(api): State<Arc<Api>>, id: Result<Path<Uuid>, PathRejection>, headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Challenge).await?;
    let look = api.core.look(id_of(id)?, &Who::Product(product)).await?;
    Ok(Json(describe(&api, &look)))
}

fn describe(api: &Api, look: &Look) -> Value {
    let methods: Vec<MethodAnswer> =
        look.methods.iter().filter(|m| m.is_active()).map(MethodAnswer::from).collect();
    let state: &'static str = look.challenge.state.into();
    json!({
        "id": look.challenge.id, "status": state, "purpose": look.challenge.purpose.to_string(), "methods": methods,
        "method": look.challenge.method, "sends_left": look.challenge.sends_left(&api.core.config.limits),
        "next_send_at": look.challenge.next_send_at, "delivery": look.dispatch.as_ref().map(|d| d.state.to_string()),
        "expires_at": look.challenge.expires_at,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendBody {
    method: Uuid,
    channel: Option<String>,
}

/// `POST /v1/challenges/{id}/send`
pub(super) async fn send(
    State(api): State<Arc<Api>>, id: Result<Path<Uuid>, PathRejection>, headers: HeaderMap, body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let who = Who::Product(api.product(&headers, Scope::Challenge).await?);
    let id = id_of(id)?;
    let wanted: SendBody = body::read(body).await?;
    let channel = wanted.channel.as_deref().map(str::parse::<Channel>).transpose();
    let channel = channel.map_err(|_| Problem::invalid("channel", "is sms or voice"))?;
    let sent = api.core.send(id, &who, Some(wanted.method), channel).await?;
    let look = api.core.look(id, &who).await?;
    match sent {
        Ok(()) => Ok((StatusCode::ACCEPTED, Json(describe(&api, &look)))),
        Err(SendRefused::Limited { until }) => {
            Err(Problem::limited("the next code can be sent later", seconds_until(look.now, until)))
        }
        Err(SendRefused::UsedUp) => Err(Problem::limited(
            "all sends of this challenge are used up",
            seconds_until(look.now, look.challenge.expires_at),
        )),
        Err(SendRefused::Ended(state)) => Err(Problem::ended(state.into())),
        Err(SendRefused::Method) => {
            Err(Problem::invalid("method", "is not active, or takes no code this way"))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    code: String,
    method: Option<Uuid>,
}

/// `POST /v1/challenges/{id}/verify`
pub(super) async fn verify(
    State(api): State<Arc<Api>>, id: Result<Path<Uuid>, PathRejection>, headers: HeaderMap, body: Body,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Challenge).await?;
    let id = id_of(id)?;
    let wanted: VerifyBody = body::read(body).await?;
    let entry = Entry { text: wanted.code, method: wanted.method, trust: false };
    let who = Who::Product(product.clone());
    match api.core.enter(id, &who, &entry).await? {
        Entered::Verified { new_recovery_code, .. } => {
            let result = api.core.redeem_directly(&product, id).await?;
            let Redeemed::Result(result) = result else { return Err(Problem::gone()) };
            Ok(Json(
                json!({"status": "verified", "result": result, "recovery_code": new_recovery_code.as_deref()}),
            ))
        }
        Entered::Wrong { left, clock_behind_s } => {
            Ok(Json(json!({"status": "wrong", "left": left, "clock_behind_s": clock_behind_s})))
        }
        Entered::Unreadable => {
            Err(Problem::invalid("code", "is six digits, or a recovery code; it was not counted"))
        }
        Entered::Paused { until, now } => Err(Problem::locked(
            "too many wrong codes: the account is paused",
            Some(seconds_until(now, until)),
        )),
        Entered::Ended(crate::challenge::ChallengeState::Locked) => {
            Err(Problem::locked("too many wrong codes: create a new challenge", None))
        }
        Entered::Ended(state) => Err(Problem::ended(state.into())),
    }
}

/// `POST /v1/challenges/{id}/cancel`
pub(super) async fn cancel(
    State(api): State<Arc<Api>>, id: Result<Path<Uuid>, PathRejection>, headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let who = Who::Product(api.product(&headers, Scope::Challenge).await?);
    let id = id_of(id)?;
    api.core.cancel(id, &who).await?;
    let look = api.core.look(id, &who).await?;
    Ok(Json(describe(&api, &look)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemBody {
    ticket: String,
}

/// `POST /v1/tickets/redeem`
pub(super) async fn redeem(
    State(api): State<Arc<Api>>, headers: HeaderMap, body: Body,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Challenge).await?;
    let wanted: RedeemBody = body::read(body).await?;
    match api.core.redeem(&product, &wanted.ticket).await? {
        Redeemed::Result(result) => Ok(Json(json!({"result": result}))),
        Redeemed::Over => Err(Problem::gone()),
    }
}
