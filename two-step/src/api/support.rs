//! Support cases.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::key::Scope;
use super::problem::Problem;
use super::{Api, body};
use crate::flow::{NewCase, SupportRefused};
use crate::store::{SupportAction, SupportCase};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseBody {
    user: String,
    action: String,
    method: Option<Uuid>,
    reason: String,
    #[serde(default)]
    evidence: Vec<String>,
    agent: String,
}

/// `POST /v1/support/cases`
pub(super) async fn ask(
    State(api): State<Arc<Api>>, headers: HeaderMap, body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let product = api.product(&headers, Scope::Support).await?;
    let wanted: CaseBody = body::read(body).await?;
    let action: SupportAction = wanted.action.parse().map_err(|_| {
        Problem::invalid("action", "is unlock, send_recovery_code, turn_off, turn_on or remove_method")
    })?;
    let new = NewCase {
        user: wanted.user,
        action,
        method: wanted.method,
        reason: wanted.reason,
        evidence: wanted.evidence,
        agent: wanted.agent,
    };
    let case = api.core.ask_support(&product, new).await?.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(describe(&case))))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentBody {
    agent: String,
}

/// `POST /v1/support/cases/{id}/approve`
pub(super) async fn approve(
    State(api): State<Arc<Api>>, id: Result<Path<Uuid>, PathRejection>, headers: HeaderMap, body: Body,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::SupportApprove).await?;
    let Path(id) = id.map_err(|_| Problem::not_found())?;
    let by: AgentBody = body::read(body).await?;
    let case = api.core.approve_case(&product, id, &by.agent).await?.map_err(refused)?;
    Ok(Json(describe(&case)))
}

/// `POST /v1/support/cases/{id}/cancel`
pub(super) async fn cancel(
    State(api): State<Arc<Api>>, id: Result<Path<Uuid>, PathRejection>, headers: HeaderMap, body: Body,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Support).await?;
    let Path(id) = id.map_err(|_| Problem::not_found())?;
    let by: AgentBody = body::read(body).await?;
    let case = api.core.cancel_case(&product, id, &by.agent).await?.map_err(refused)?;
    Ok(Json(describe(&case)))
}

/// `GET /v1/support/cases?user=…`
pub(super) async fn list(
    State(api): State<Arc<Api>>, RawQuery(query): RawQuery, headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let product = api.product(&headers, Scope::Support).await?;
    let mut user = None;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "user" {
            return Err(Problem::invalid("query", "knows user"));
        }
        user = Some(value.into_owned());
    }
    let user = user.ok_or_else(|| Problem::invalid("user", "is missing"))?;
    let cases = api.core.cases(&product, &user).await?;
    Ok(Json(json!({"cases": cases.iter().map(describe).collect::<Vec<_>>()})))
}

/// A case as an agent may see it, without its code.
pub(crate) fn describe(case: &SupportCase) -> Value {
    let evidence: Vec<&str> = case.evidence.split_whitespace().collect();
    json!({
        "id": case.id, "action": case.action.to_string(), "state": case.state.to_string(), "method": case.method,
        "reason": case.reason, "evidence": evidence, "asked_by": case.asked_by, "approved_by": case.approved_by,
        "asked_at": case.asked_at, "due_at": case.due_at, "code_until": case.code_until,
    })
}

fn refused(why: SupportRefused) -> Problem {
    match why {
        SupportRefused::Over(state) => Problem::case_over(&state.to_string()),
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

/// Why support cannot do it, and what to do instead.
pub(crate) fn sentence(why: SupportRefused) -> &'static str {
    match why {
        SupportRefused::Over(_) => "the case is over: open a new one",
        SupportRefused::Waits => "another case of this user waits: approve or cancel it first",
        SupportRefused::SameAgent => "the agent who asked cannot approve: ask a second agent",
        SupportRefused::NoDelay => "the case waits for its code, and needs no approval",
        SupportRefused::Off => "two-step verification is off",
        SupportRefused::On => "two-step verification is on, and no case waits",
        SupportRefused::NotUndone => {
            "support did not turn it off, or the methods that are left do not suffice: the user turns it on in the settings"
        }
        SupportRefused::Method => "is not a method of this user that this action can use",
        SupportRefused::Last => "is the last method that can sign in: use turn_off",
    }
}
