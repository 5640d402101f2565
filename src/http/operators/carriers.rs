//! `GET /v1/carriers`, `POST /v1/carriers/{name}/pause`, `/resume` and `/probe`.

use axum::Json;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::{self, Body, WhyBody};
use super::{ChangeAnswer, log};
use crate::domain::channel::Channel;
use crate::http::authorized::operator_problems;
use crate::http::body::Payload;
use crate::http::openapi::problems;
use crate::http::operator::Operator;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::status::BreakerAnswer;
use crate::ledger::{NewPause, OperatorAct, Pause};

/// The configured carriers.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CarrierList {
    /// The carriers, by name.
    carriers: Vec<CarrierAnswer>,
}

/// A carrier: an account at a company that delivers messages.
#[derive(Debug, Serialize, ToSchema)]
struct CarrierAnswer {
    /// The configured name.
    name: String,
    /// The company; absent when the carrier is paused and has no section in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    company: Option<&'static str>,
    /// The channels that it carries.
    channels: Vec<Channel>,
    /// The rate limit in messages per second, over all workers.
    rate_per_s: u32,
    /// Whether it sends nothing any more, and only takes receipts.
    retired: bool,
    /// The pause everywhere; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pause: Option<PauseAnswer>,
    /// The pauses in single countries; absent when there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    country_pauses: Vec<CountryPauseAnswer>,
    /// Its open circuit breakers on any worker; absent when none is open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    open_breakers: Vec<BreakerAnswer>,
}

/// The pause of a carrier everywhere.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct PauseAnswer {
    /// Why.
    reason: String,
    /// The id of the operator's API key.
    by: String,
    /// Since when.
    at: Timestamp,
    /// When the pause ends by itself; absent when it lasts until the carrier is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    until: Option<Timestamp>,
}

/// The pause of a carrier in one country.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct CountryPauseAnswer {
    /// The country, as its ISO 3166 code of two letters.
    country: String,
    /// Why.
    reason: String,
    /// The id of the operator's API key.
    by: String,
    /// Since when.
    at: Timestamp,
    /// When the pause ends by itself; absent when it lasts until the carrier is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    until: Option<Timestamp>,
}

/// The pauses of one carrier.
#[derive(Default)]
struct CarrierPauses {
    everywhere: Option<PauseAnswer>,
    by_country: Vec<CountryPauseAnswer>,
}

impl CarrierPauses {
    /// Takes those of a carrier out of a list.
    fn take(pauses: &mut Vec<Pause>, carrier: &str) -> Self {
        let mut taken = Self::default();
        for pause in pauses.extract_if(.., |pause| pause.carrier == carrier) {
            let Pause { country, reason, paused_by: by, paused_at: at, until, .. } = pause;
            match country {
                None => taken.everywhere = Some(PauseAnswer { reason, by, at, until }),
                Some(country) => {
                    taken.by_country.push(CountryPauseAnswer { country, reason, by, at, until });
                }
            }
        }
        taken
    }
}

/// How to pause a carrier.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PauseBody {
    /// Why; for the audit and for other operators.
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
    /// Only for numbers of this country, as its ISO 3166 code of two letters; without it, everywhere.
    #[serde(default)]
    #[schema(min_length = 2)]
    country: Option<String>,
    /// After this time the pause ends by itself; without it, it lasts until the carrier is resumed.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 31_622_400)]
    for_s: Option<u64>,
}

impl Body for PauseBody {
    const FIELDS: &'static str =
        "reason (a text), country (a text, optional), for_s (whole seconds, optional)";
}

/// How to resume a carrier.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ResumeBody {
    /// Why; for the audit.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    reason: Option<String>,
    /// Ends only the pause in this country, as its ISO 3166 code of two letters; without it, all pauses of the carrier.
    #[serde(default)]
    #[schema(min_length = 2)]
    country: Option<String>,
}

impl Body for ResumeBody {
    const FIELDS: &'static str = "reason (a text, optional), country (a text, optional)";
}

/// The name of a carrier, from the path. A name that cannot be read is answered like an unknown one.
pub(in crate::http) struct CarrierName(String);

impl<S: Send + Sync> FromRequestParts<S> for CarrierName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|_| no_carrier())
    }
}

/// List the carriers
///
/// The carriers of the configuration of the process that answers, and the pauses and open circuit breakers of all processes.
#[utoipa::path(
    get,
    path = "/v1/carriers",
    operation_id = "list_carriers",
    tag = "operators",
    responses((status = 200, description = "The carriers", body = CarrierList), ListProblems)
)]
pub(in crate::http) async fn list(operator: Operator) -> Result<Json<CarrierList>, Problem> {
    let state = &operator.api.state;
    let mut stored = state.ledger.restrictions().await?;
    stored.retain_in_force(state.ledger.now());
    let mut pauses: Vec<Pause> = stored.pauses;
    let mut breakers = state.status.snapshot().await.input.open_breakers();
    let rules = state.rules.current();
    let mut carriers: Vec<CarrierAnswer> = rules
        .routes
        .overview()
        .map(|account| {
            let CarrierPauses { everywhere, by_country } = CarrierPauses::take(&mut pauses, account.name);
            CarrierAnswer {
                name: account.name.to_owned(),
                company: Some(account.company),
                channels: account.channels,
                rate_per_s: account.rate_per_s,
                retired: account.is_retired,
                pause: everywhere,
                country_pauses: by_country,
                open_breakers: breakers
                    .extract_if(.., |open| open.carrier == account.name)
                    .map(BreakerAnswer::from)
                    .collect(),
            }
        })
        .collect();
    while let Some(name) = pauses.first().map(|pause| pause.carrier.clone()) {
        let CarrierPauses { everywhere, by_country } = CarrierPauses::take(&mut pauses, &name);
        carriers.push(CarrierAnswer {
            name,
            company: None,
            channels: vec![],
            rate_per_s: 0,
            retired: true,
            pause: everywhere,
            country_pauses: by_country,
            open_breakers: vec![],
        });
    }
    Ok(Json(CarrierList { carriers }))
}

/// Pause a carrier
///
/// No worker begins a request to it, from 2 s later at the latest. Messages go to other carriers or wait, as with an open circuit
/// breaker. Its receipts are still taken. With a country, this holds for numbers of that country only. A second pause replaces the
/// first. Pauses in different countries are independent of each other, and of a pause everywhere.
#[utoipa::path(
    post,
    path = "/v1/carriers/{name}/pause",
    operation_id = "pause_carrier",
    tag = "operators",
    params(("name" = String, Path, description = "The configured name of the carrier")),
    request_body(content = PauseBody, content_type = "application/json"),
    responses((status = 200, description = "The carrier is paused", body = ChangeAnswer), PauseProblems)
)]
pub(in crate::http) async fn pause(
    operator: Operator, CarrierName(name): CarrierName, Payload(body): Payload,
) -> Result<Json<ChangeAnswer>, Problem> {
    let body: PauseBody = request::read(&body)?;
    let (reason, duration) = (request::reason(&body.reason)?, request::duration(body.for_s)?);
    let country = body.country.map(request::country).transpose()?.map(String::from);
    check_sends(&operator, &name)?;
    let subject = subject(&name, country.as_deref());
    let audit = operator.record(OperatorAct::CarrierPause, subject, Some(reason));
    let pause = NewPause { carrier: name, country, reason: reason.to_owned(), duration };
    operator.api.state.ledger.pause_carrier(&pause, &audit).await?;
    log(&audit);
    Ok(Json(ChangeAnswer { changed: true }))
}

/// Resume a paused carrier
///
/// Without a country, all pauses of the carrier end. With one, only the pause in that country ends: a pause everywhere still holds there.
#[utoipa::path(
    post,
    path = "/v1/carriers/{name}/resume",
    operation_id = "resume_carrier",
    tag = "operators",
    params(("name" = String, Path, description = "The configured name of the carrier")),
    request_body(content = ref("#/components/schemas/ResumeBody"), content_type = "application/json"),
    responses((status = 200, description = "The pause has ended, or there was none", body = ChangeAnswer), ResumeProblems)
)]
pub(in crate::http) async fn resume(
    operator: Operator, CarrierName(name): CarrierName, Payload(body): Payload,
) -> Result<Json<ChangeAnswer>, Problem> {
    let body: ResumeBody = request::read(&body)?;
    let reason = request::maybe_reason(body.reason.as_deref())?;
    let country = body.country.map(request::country).transpose()?.map(String::from);
    let subject = subject(&name, country.as_deref());
    let audit = operator.record(OperatorAct::CarrierResume, subject, reason);
    let changed = operator.api.state.ledger.resume_carrier(&name, country.as_deref(), &audit).await?;
    if changed {
        log(&audit);
    } else if !operator.api.state.rules.current().routes.overview().any(|account| account.name == name) {
        return Err(no_carrier());
    }
    Ok(Json(ChangeAnswer { changed }))
}

/// Try a carrier now
///
/// Ends the waiting time of its circuit breakers on every worker, within 2 s. The next message to the carrier is let through at once, as
/// the probe. If it fails, the breaker waits again.
#[utoipa::path(
    post,
    path = "/v1/carriers/{name}/probe",
    operation_id = "probe_carrier",
    tag = "operators",
    params(("name" = String, Path, description = "The configured name of the carrier")),
    request_body(content = ref("#/components/schemas/WhyBody"), content_type = "application/json"),
    responses((status = 200, description = "The next message is let through", body = ChangeAnswer), ProbeProblems)
)]
pub(in crate::http) async fn probe(
    operator: Operator, CarrierName(name): CarrierName, Payload(body): Payload,
) -> Result<Json<ChangeAnswer>, Problem> {
    let body: WhyBody = request::read(&body)?;
    check_sends(&operator, &name)?;
    let ledger = &operator.api.state.ledger;
    let mut stored = ledger.restrictions().await?;
    stored.retain_in_force(ledger.now());
    if stored.pauses.iter().any(|pause| pause.carrier == name && pause.country.is_none()) {
        return Err(paused());
    }
    let audit = operator.record(OperatorAct::CarrierProbe, subject(&name, None), body.reason()?);
    ledger.probe_carrier(&name, &audit).await?;
    log(&audit);
    Ok(Json(ChangeAnswer { changed: true }))
}

/// For the audit.
fn subject(carrier: &str, country: Option<&str>) -> String {
    match country {
        Some(country) => format!("carrier {carrier} in {country}"),
        None => format!("carrier {carrier}"),
    }
}

/// Checks that a carrier is configured, and not retired.
fn check_sends(operator: &Operator, name: &str) -> Result<(), Problem> {
    let rules = operator.api.state.rules.current();
    let account = rules.routes.overview().find(|account| account.name == name).ok_or_else(no_carrier)?;
    if account.is_retired { Err(retired()) } else { Ok(()) }
}

fn no_carrier() -> Problem {
    let detail = "there is no carrier with this name in the configuration; see: otpost carrier list";
    Problem::new(StatusCode::NOT_FOUND, ProblemKind::Unknown, detail)
}

fn retired() -> Problem {
    let detail = "this carrier is retired: it sends nothing anyway; to use it again, remove `retired` from its section";
    Problem::new(StatusCode::CONFLICT, ProblemKind::Retired, detail)
}

fn paused() -> Problem {
    let detail = "this carrier is paused everywhere; resume it first: otpost carrier resume NAME";
    Problem::new(StatusCode::CONFLICT, ProblemKind::Paused, detail)
}

problems! {
    ListProblems = operator_problems();
    PauseProblems = operator_problems().into_iter().chain(request::problems::<PauseBody>())
        .chain([no_carrier(), retired()]);
    ResumeProblems = operator_problems().into_iter().chain(request::problems::<ResumeBody>()).chain([no_carrier()]);
    ProbeProblems = operator_problems().into_iter().chain(request::problems::<WhyBody>())
        .chain([no_carrier(), retired(), paused()]);
}
