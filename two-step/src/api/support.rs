//! The endpoints of support cases.

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
use super::challenges::limited;
use super::openapi::problems;
use super::problem::Problem;
use super::{body, idempotency, query, scope};
use crate::flow::{NewCase, SupportRefused};
use crate::store::{SupportAction, SupportCase, SupportState};

/// The parameters of a case.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseBody {
    /// The product's id of the user.
    user: String,
    /// The action.
    action: SupportAction,
    /// The method, for `remove_method` and `send_recovery_code`.
    method: Option<Uuid>,
    /// The reason. It is stored in the case.
    reason: String,
    /// Kinds of evidence that identified the person, such as `id_card`; never answers.
    #[serde(default)]
    evidence: Vec<String>,
    /// The agent who opens the case.
    agent: String,
}

/// A support case, without its code.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaseAnswer {
    /// Its id.
    id: Uuid,
    /// The action.
    action: SupportAction,
    /// The state.
    state: SupportState,
    /// The method of the case.
    method: Option<Uuid>,
    /// The reason.
    reason: String,
    /// Kinds of evidence that identified the person.
    evidence: Vec<String>,
    /// The agent who opened it.
    asked_by: String,
    /// The agent who approved.
    approved_by: Option<String>,
    /// When it was opened.
    asked_at: Timestamp,
    /// When it is carried out.
    due_at: Timestamp,
    /// When its code expires.
    code_until: Option<Timestamp>,
}

impl From<&SupportCase> for CaseAnswer {
    fn from(case: &SupportCase) -> Self {
        Self {
            id: case.id,
            action: case.action,
            state: case.state,
            method: case.method,
            reason: case.reason.clone(),
            evidence: case.evidence.split_whitespace().map(str::to_owned).collect(),
            asked_by: case.asked_by.clone(),
            approved_by: case.approved_by.clone(),
            asked_at: case.asked_at,
            due_at: case.due_at,
            code_until: case.code_until,
        }
    }
}

/// Open a case
///
/// The agent has identified the person by the product's own process.
#[utoipa::path(
    post,
    operation_id = "openCase",
    path = "/v1/support/cases",
    tag = "support",
    params(idempotency::KeyParameter),
    request_body = CaseBody,
    responses((status = 201, description = "The case", body = CaseAnswer), AskProblems)
)]
pub(super) async fn ask(
    Authorized { api, product, .. }: Authorized<scope::Support>, body: Body,
) -> Result<(StatusCode, Json<CaseAnswer>), Problem> {
    let wanted: CaseBody = body::read(body).await?;
    let new = NewCase {
        user: wanted.user,
        action: wanted.action,
        method: wanted.method,
        reason: wanted.reason,
        evidence: wanted.evidence,
        agent: wanted.agent,
    };
    let case = api.core.open_case(&product, new).await?.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(CaseAnswer::from(&case))))
}

/// The agent of the request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentBody {
    /// The agent.
    agent: String,
}

/// Approve a case
///
/// The approval of a second agent ends the delay.
#[utoipa::path(
    post,
    operation_id = "approveCase",
    path = "/v1/support/cases/{id}/approve",
    tag = "support",
    params(("id" = Uuid, Path, description = "The case's id"), idempotency::KeyParameter),
    request_body = AgentBody,
    responses((status = 200, description = "The case", body = CaseAnswer), ApproveProblems)
)]
pub(super) async fn approve(
    Authorized { api, product, .. }: Authorized<scope::SupportApprove>,
    id: Result<Path<Uuid>, PathRejection>, body: Body,
) -> Result<Json<CaseAnswer>, Problem> {
    let by: AgentBody = body::read(body).await?;
    let Path(id) = id.map_err(|_| Problem::not_found())?;
    let case = api.core.approve_case(&product, id, &by.agent).await?.map_err(refused)?;
    Ok(Json(CaseAnswer::from(&case)))
}

/// Cancel a case
#[utoipa::path(
    post,
    operation_id = "cancelCase",
    path = "/v1/support/cases/{id}/cancel",
    tag = "support",
    params(("id" = Uuid, Path, description = "The case's id"), idempotency::KeyParameter),
    request_body = AgentBody,
    responses((status = 200, description = "The case", body = CaseAnswer), CancelProblems)
)]
pub(super) async fn cancel(
    Authorized { api, product, .. }: Authorized<scope::Support>, id: Result<Path<Uuid>, PathRejection>,
    body: Body,
) -> Result<Json<CaseAnswer>, Problem> {
    let by: AgentBody = body::read(body).await?;
    let Path(id) = id.map_err(|_| Problem::not_found())?;
    let case = api.core.cancel_case(&product, id, &by.agent).await?.map_err(refused)?;
    Ok(Json(CaseAnswer::from(&case)))
}

/// The cases of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CasesAnswer {
    /// Newest first.
    cases: Vec<CaseAnswer>,
}

/// List a user's cases
#[utoipa::path(
    get,
    operation_id = "listCases",
    path = "/v1/support/cases",
    tag = "support",
    params(("user" = String, Query, description = "The product's id of the user")),
    responses((status = 200, description = "The cases", body = CasesAnswer), ListProblems)
)]
pub(super) async fn list(
    Authorized { api, product, .. }: Authorized<scope::Support>, RawQuery(query): RawQuery,
) -> Result<Json<CasesAnswer>, Problem> {
    let [user] = query::read(query.as_deref(), ["user"])?;
    let user = user.ok_or_else(|| Problem::invalid("user", "is missing"))?;
    let cases = api.core.cases(&product, &user).await?;
    Ok(Json(CasesAnswer { cases: cases.iter().map(CaseAnswer::from).collect() }))
}

fn refused(why: SupportRefused) -> Problem {
    match why {
        SupportRefused::Over(state) => Problem::case_over(state.into()),
        _ => Problem::invalid(field(why), sentence(why)),
    }
}

fn field(why: SupportRefused) -> &'static str {
    match why {
        SupportRefused::SameAgent => "agent",
        SupportRefused::Method | SupportRefused::Last => "method",
        _ => "action",
    }
}

/// Explains why a case was refused, and what to do instead.
pub(crate) fn sentence(why: SupportRefused) -> &'static str {
    match why {
        SupportRefused::Over(_) => "the case has ended; open a new one",
        SupportRefused::Waits => "another case of this user is waiting; approve or cancel it first",
        SupportRefused::SameAgent => {
            "the agent who opened the case cannot approve it; a second agent must approve"
        }
        SupportRefused::NoDelay => "the case waits for its code and needs no approval",
        SupportRefused::Off => "two-step verification is off",
        SupportRefused::On => "two-step verification is on, and no case is waiting",
        SupportRefused::NotUndone => {
            "support did not turn it off, or the remaining methods do not suffice; the user can turn it on in the settings"
        }
        SupportRefused::Method => "must be a method of this user that fits the action",
        SupportRefused::Last => "is the last method; use turn_off instead",
    }
}

problems! {
    AskProblems = [
        authorized::problems::<scope::Support>(), body::problems(), idempotency::problems(),
        vec![Problem::not_found(), limited(), Problem::case_over("done")],
    ];
    ApproveProblems = [
        authorized::problems::<scope::SupportApprove>(), body::problems(), idempotency::problems(), vec![Problem::not_found(), Problem::case_over("done")],
    ];
    CancelProblems = [
        authorized::problems::<scope::Support>(), body::problems(), idempotency::problems(), vec![Problem::not_found(), Problem::case_over("done")],
    ];
    ListProblems = [authorized::problems::<scope::Support>(), vec![Problem::not_found(), Problem::invalid("user", "is missing")]];
}
