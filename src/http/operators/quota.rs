//! `POST /v1/quota/show` and `POST /v1/quota/reset`.

use axum::Json;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::log;
use super::request::{self, Body};
use crate::domain::channel::Channel;
use crate::domain::clock::after;
use crate::domain::dispatch::{Kind, PhoneNumber};
use crate::domain::quota;
use crate::http::authorized::operator_problems;
use crate::http::body::Payload;
use crate::http::openapi::problems;
use crate::http::operator::Operator;
use crate::http::problem::{Problem, ProblemKind};
use crate::ledger::{Limit, OperatorAct};

/// The quotas of a number.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct QuotaList {
    /// The masked number.
    number: String,
    /// The rules, by tenant and quota.
    rules: Vec<RuleAnswer>,
}

/// A rule of a quota, and how much of it is used.
#[derive(Debug, Serialize, ToSchema)]
struct RuleAnswer {
    /// The tenant; absent for the quota over all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    tenant: Option<String>,
    /// The counted dispatches: `codes`, `notices`, `codes by voice`, … or `all`.
    counts: String,
    /// The rule, such as `5/10m`.
    rule: String,
    /// Number of messages within the window. It never exceeds the largest number of the quota's rules.
    used: usize,
    /// Maximum number of messages within the window.
    limit: u32,
    /// Length of the window in seconds.
    window_s: u64,
    /// When the rule admits the next message; absent when it admits one now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    free_at: Option<Timestamp>,
}

/// The number whose quotas are meant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct QuotaBody {
    /// The number in E.164.
    #[schema(value_type = String, pattern = "^\\+[1-9][0-9]{6,14}$")]
    number: Zeroizing<String>,
    /// Only the quotas of this tenant.
    #[serde(default)]
    tenant: Option<String>,
    /// Why; for the audit of a reset.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
}

impl Body for QuotaBody {
    const FIELDS: &'static str = "number (a text), tenant (a text, optional), reason (a text, optional)";
}

/// The result of a reset.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ResetAnswer {
    /// Number of quotas that had uses.
    reset: u64,
}

/// A quota of a number.
pub(super) struct NamedLimit {
    tenant: Option<String>,
    counts: String,
    pub(super) limit: Limit,
}

/// All quotas of a number: of one tenant, or of all tenants with the one that they share.
pub(super) fn quotas_of(
    operator: &Operator, number: &PhoneNumber, tenant: Option<&str>,
) -> Result<Vec<NamedLimit>, Problem> {
    let rules = operator.api.state.rules.current();
    let admitter = &rules.admitter;
    let mut tenants = admitter.tenants();
    if let Some(only) = tenant {
        tenants.retain(|tenant| tenant == only);
        if tenants.is_empty() {
            return Err(no_tenant());
        }
    }
    let mut all = vec![];
    for name in tenants {
        for kind in [Kind::Code, Kind::Notice] {
            let what = if kind == Kind::Code { "codes" } else { "notices" };
            let mut add = |counts: String, limit: Limit| {
                all.push(NamedLimit { tenant: Some(name.clone()), counts, limit });
            };
            add(what.to_owned(), admitter.number_limit(&name, kind, number));
            for channel in Channel::ALL {
                if let Some(limit) = admitter.channel_limit(&name, *channel, kind, number) {
                    add(format!("{what} by {channel}"), limit);
                }
            }
        }
    }
    let shared = admitter.operator_limit(number).filter(|_| tenant.is_none());
    all.extend(shared.map(|limit| NamedLimit { tenant: None, counts: "all".to_owned(), limit }));
    Ok(all)
}

pub(super) fn keys(quotas: &[NamedLimit]) -> Vec<String> {
    quotas.iter().map(|named| named.limit.key.clone()).collect()
}

/// Show the quotas of a number
///
/// For each rule: how much of it is used, and when it admits the next message. Jobs that a quota refused do not count.
#[utoipa::path(
    post,
    path = "/v1/quota/show",
    operation_id = "show_quota",
    tag = "operators",
    request_body(content = QuotaBody, content_type = "application/json"),
    responses((status = 200, description = "The quotas", body = QuotaList), ShowProblems)
)]
pub(in crate::http) async fn show(
    operator: Operator, Payload(body): Payload,
) -> Result<Json<QuotaList>, Problem> {
    let body: QuotaBody = request::read(&body)?;
    let number = request::number(&body.number)?;
    // It is not stored, but it must fit the schema.
    request::maybe_reason(body.reason.as_deref())?;
    let named = quotas_of(&operator, &number, body.tenant.as_deref())?;
    let ledger = &operator.api.state.ledger;
    let (stored, now) = (ledger.quotas(&keys(&named)).await?, ledger.now());
    let mut rules = vec![];
    for NamedLimit { tenant, counts, limit } in named {
        let uses = stored.uses(&limit.key);
        rules.extend(limit.rules.iter().map(|rule| RuleAnswer {
            tenant: tenant.clone(),
            counts: counts.clone(),
            rule: rule.to_string(),
            used: uses.iter().filter(|at| after(**at, rule.window) > now).count(),
            limit: rule.count,
            window_s: rule.window.as_secs(),
            free_at: quota::free_at(uses, std::slice::from_ref(rule), now),
        }));
    }
    Ok(Json(QuotaList { number: number.mask(), rules }))
}

/// Reset the quotas of a number
///
/// Forgets the messages that were counted, so that all rules admit again. A cached refusal of another process holds for up to 5 s.
#[utoipa::path(
    post,
    path = "/v1/quota/reset",
    operation_id = "reset_quota",
    tag = "operators",
    request_body(content = QuotaBody, content_type = "application/json"),
    responses((status = 200, description = "The quotas are empty", body = ResetAnswer), ResetProblems)
)]
pub(in crate::http) async fn reset(
    operator: Operator, Payload(body): Payload,
) -> Result<Json<ResetAnswer>, Problem> {
    let body: QuotaBody = request::read(&body)?;
    let number = request::number(&body.number)?;
    let reason = request::maybe_reason(body.reason.as_deref())?;
    let named = quotas_of(&operator, &number, body.tenant.as_deref())?;
    let of_tenant = body.tenant.map(|tenant| format!(" of tenant {tenant}")).unwrap_or_default();
    let subject = format!("number {}{of_tenant}", number.mask());
    let audit = operator.record(OperatorAct::QuotaReset, subject, reason);
    let reset = operator.api.state.ledger.delete_quotas(&keys(&named), &audit).await?;
    operator.api.flood.current().forget_refusals();
    log(&audit);
    Ok(Json(ResetAnswer { reset }))
}

fn no_tenant() -> Problem {
    let detail = "the configuration has no tenant with this name";
    Problem::new(StatusCode::NOT_FOUND, ProblemKind::Unknown, detail)
}

problems! {
    ShowProblems = operator_problems().into_iter().chain(request::problems::<QuotaBody>()).chain([no_tenant()]);
    ResetProblems = operator_problems().into_iter().chain(request::problems::<QuotaBody>()).chain([no_tenant()]);
}
