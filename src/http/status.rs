//! `GET /v1/status`: whether codes arrive, and what the processes do.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::authorized;
use super::openapi::problems;
use super::operator::Operator;
use super::problem::{Problem, ProblemKind};
use crate::domain::channel::Channel;
use crate::domain::delivery_count::{Counted, DeliveryCounts};
use crate::ops::failures::FailureCount;
use crate::ops::report::OpenBreaker;
use crate::ops::status::{Dimension, Numbers, PausedCarrier, SeenReport, Status};
use crate::ops::verdict::{Cause, Finding, Group};

/// What the numbers are about. Without a value, all.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// A channel
    channel: Option<Channel>,
    /// A configured carrier
    carrier: Option<String>,
    /// A country, ISO 3166, or `??` for numbers whose country is not known
    country: Option<String>,
    /// A tenant
    tenant: Option<String>,
}

/// The status of a deployment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    /// When the numbers were read, by the ledger's clock.
    pub at: Timestamp,
    /// The findings, at most three, problems of otpost itself first. Empty: codes arrive as usual.
    pub findings: Vec<FindingAnswer>,
    /// Whether nothing was sent during the last 15 minutes. Without attempts, nobody knows whether codes would arrive.
    pub quiet: bool,
    /// The numbers of the filter.
    pub all: NumbersAnswer,
    /// The numbers by channel.
    pub channels: Vec<NamedNumbers>,
    /// The numbers by carrier.
    pub carriers: Vec<NamedNumbers>,
    /// The numbers by country.
    pub countries: Vec<NamedNumbers>,
    /// The numbers by tenant.
    pub tenants: Vec<NamedNumbers>,
    /// Why messages failed during the last five to ten minutes, the most frequent kinds first. Empty with a filter for a tenant.
    pub failures: Vec<FailureAnswer>,
    /// The last 24 hours in points of ten minutes, oldest first.
    pub history: Vec<PointAnswer>,
    /// Messages in each queue of otpost, without those that a process holds.
    pub queues: BTreeMap<String, u32>,
    /// Circuit breakers that are open.
    pub breakers: Vec<BreakerAnswer>,
    /// Carriers that operators have paused.
    pub pauses: Vec<PausedAnswer>,
    /// The living processes, and the last ones that are gone.
    pub processes: Vec<ProcessAnswer>,
}

/// Something that is wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingAnswer {
    /// The problem, its begin, and the remedy, in sentences.
    pub text: String,
    /// Since when.
    pub since: Timestamp,
    /// The part of otpost that causes it: `ledger`, `slow_ledger`, `broker`, `workers`, `queue`,
    /// `clock`, `process`, `carriers` or `traffic`. Null if it is outside of otpost.
    pub part: Option<String>,
    /// What the messages show: `refused`, `undelivered`, `no_receipt`, `late` or `unverified`. Null for a part of otpost.
    pub symptom: Option<String>,
    /// The channel that it concerns; null for both.
    pub channel: Option<Channel>,
    /// The carrier that it concerns; null for all.
    pub carrier: Option<String>,
    /// The country that it concerns; null for all.
    pub country: Option<String>,
    /// The tenant that it concerns; null for all.
    pub tenant: Option<String>,
}

/// Numbers of the last 15 minutes and of the last 24 hours.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NumbersAnswer {
    /// Attempts that began during the last 15 minutes.
    pub last_15_min: CountsAnswer,
    /// Attempts that began during the last 24 hours.
    pub last_24_h: CountsAnswer,
}

/// The numbers of one value, such as a carrier.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamedNumbers {
    /// The value.
    pub name: String,
    /// Its numbers.
    #[serde(flatten)]
    pub numbers: NumbersAnswer,
}

/// What became of attempts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CountsAnswer {
    /// Attempts: requests to carriers.
    pub attempts: i64,
    /// Attempts that the carrier accepted.
    pub accepted: i64,
    /// Attempts of which it is unknown whether the carrier accepted them.
    pub unknown: i64,
    /// Accepted attempts whose final receipt came within 60 s.
    pub receipt_within_60_s: i64,
    /// Attempts whose message reached the handset.
    pub delivered: i64,
    /// The same within 10 s of the begin of the attempt.
    pub delivered_within_10_s: i64,
    /// The same within 30 s.
    pub delivered_within_30_s: i64,
    /// The same within 60 s.
    pub delivered_within_60_s: i64,
    /// Attempts whose message did not reach the handset, by a receipt.
    pub undelivered: i64,
    /// Attempts whose code was reported as verified.
    pub verified: i64,
    /// Message parts that carriers charge, where they say so.
    pub segments: i64,
    /// The time within which half of the delivered messages arrived, in seconds. Null without deliveries.
    pub handset_p50_s: Option<f64>,
    /// The time within which 95 % of them arrived, in seconds. Null without deliveries.
    pub handset_p95_s: Option<f64>,
}

/// How often a kind of failure happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FailureAnswer {
    /// The carrier.
    pub carrier: String,
    /// The channel.
    pub channel: Channel,
    /// The country of the numbers, or `??`.
    pub country: String,
    /// What happened: `throttled`, `not_sent`, `unavailable`, `unknown`, `rejected`, `misconfigured`, or, by a receipt, `undelivered`.
    pub what: String,
    /// The carrier's error code. Null without one.
    pub code: Option<String>,
    /// How often.
    pub count: u64,
}

/// What became of the attempts that began within ten minutes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PointAnswer {
    /// The begin of the ten minutes.
    pub at: Timestamp,
    /// Attempts.
    pub attempts: i64,
    /// Attempts whose message reached the handset.
    pub delivered: i64,
    /// Attempts that the carrier did not accept, or whose message did not reach the handset by a receipt.
    pub failed: i64,
    /// The time within which half of the delivered messages arrived, in seconds. Null without deliveries.
    pub handset_p50_s: Option<f64>,
}

/// An open circuit breaker: the carrier gets no requests until a probe succeeds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BreakerAnswer {
    /// The carrier.
    pub carrier: String,
    /// The channel.
    pub channel: String,
    /// The country; null for all.
    pub country: Option<String>,
    /// Seconds until the next request passes as a probe.
    pub probe_in_s: u64,
}

/// A carrier that an operator has paused: no worker uses it, everywhere or for one country.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PausedAnswer {
    /// The carrier.
    pub carrier: String,
    /// The country; null for everywhere.
    pub country: Option<String>,
    /// Why.
    pub reason: String,
    /// The id of the operator's API key.
    pub by: String,
    /// When the pause ends by itself. Null if it lasts until the carrier is resumed.
    pub until: Option<Timestamp>,
}

/// A process of the deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProcessAnswer {
    /// Its name.
    pub name: String,
    /// The name of its machine.
    pub host: String,
    /// Where it serves this status as a page, and `/readyz`: `ops.listen`. Empty if a former version reports.
    pub ops: String,
    /// Whether it has reported during the last 20 s.
    pub alive: bool,
    /// Whether it has stopped in order.
    pub stopped: bool,
    /// When it last reported.
    pub seen_at: Timestamp,
    /// When it started.
    pub started_at: Timestamp,
    /// The version of otpost.
    pub version: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Requests to carriers in progress.
    pub in_flight: i64,
    /// Seconds by which its clock is ahead of the ledger's.
    pub clock_ahead_s: f64,
}

/// Show whether codes arrive
///
/// The verdict in words, the numbers by carrier, country and tenant, and the processes of the deployment. For operators: the key has
/// the scope admin and belongs to no tenant.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "status",
    tag = "operators",
    params(Filter),
    responses((status = 200, description = "The status", body = StatusAnswer), StatusProblems)
)]
pub(super) async fn show(
    Operator { api, .. }: Operator, filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<StatusAnswer>, Problem> {
    let Query(Filter { channel, carrier, country, tenant }) = filter.map_err(|_| bad_filter())?;
    let country = country.map(|country| country.to_ascii_uppercase());
    let filter = Group { channel, carrier, country, tenant };
    let snapshot = api.state.status.snapshot().await;
    Ok(Json(Status::new(&snapshot, &filter).into()))
}

impl From<Status> for StatusAnswer {
    fn from(status: Status) -> Self {
        let mut by = status.by;
        let mut named = |dimension| {
            let values = by.remove(&dimension).unwrap_or_default();
            values.into_iter().map(|(name, numbers)| NamedNumbers { name, numbers: numbers.into() }).collect()
        };
        Self {
            at: status.at,
            findings: status.findings.into_iter().map(Into::into).collect(),
            quiet: status.is_quiet,
            all: status.all.into(),
            channels: named(Dimension::Channel),
            carriers: named(Dimension::Carrier),
            countries: named(Dimension::Country),
            tenants: named(Dimension::Tenant),
            failures: status.failures.into_iter().map(Into::into).collect(),
            history: status.history.into_iter().map(point).collect(),
            queues: status.queues,
            breakers: status.breakers.into_iter().map(Into::into).collect(),
            pauses: status.pauses.into_iter().map(Into::into).collect(),
            processes: status
                .processes
                .into_iter()
                .map(|process| process_answer(process, status.at))
                .collect(),
        }
    }
}

fn point((at, counts): (Timestamp, DeliveryCounts)) -> PointAnswer {
    PointAnswer {
        at,
        attempts: counts.of(Counted::Attempts),
        delivered: counts.delivered(),
        failed: counts.failed(),
        handset_p50_s: counts.handset_quantile(0.5),
    }
}

impl From<Finding> for FindingAnswer {
    fn from(finding: Finding) -> Self {
        let (part, group) = match finding.cause {
            Cause::Own(part) => (Some(part.as_str().to_owned()), Group::default()),
            Cause::Cells(group) => (None, group),
        };
        let Group { channel, carrier, country, tenant } = group;
        let symptom = finding.symptom.map(|symptom| symptom.as_str().to_owned());
        Self { text: finding.text, since: finding.since, part, symptom, channel, carrier, country, tenant }
    }
}

impl From<Numbers> for NumbersAnswer {
    fn from(numbers: Numbers) -> Self {
        Self { last_15_min: numbers.recent.into(), last_24_h: numbers.day.into() }
    }
}

impl From<DeliveryCounts> for CountsAnswer {
    fn from(counts: DeliveryCounts) -> Self {
        Self {
            attempts: counts.of(Counted::Attempts),
            accepted: counts.of(Counted::Accepted),
            unknown: counts.of(Counted::Unknown),
            receipt_within_60_s: counts.of(Counted::Receipt60s),
            delivered: counts.delivered(),
            delivered_within_10_s: counts.delivered_within(10),
            delivered_within_30_s: counts.delivered_within(30),
            delivered_within_60_s: counts.delivered_within(60),
            undelivered: counts.of(Counted::Undelivered),
            verified: counts.of(Counted::Verified),
            segments: counts.of(Counted::Segments),
            handset_p50_s: counts.handset_quantile(0.5),
            handset_p95_s: counts.handset_quantile(0.95),
        }
    }
}

impl From<FailureCount> for FailureAnswer {
    fn from(failure: FailureCount) -> Self {
        let FailureCount { channel, carrier, country, what, code, count } = failure;
        let code = Some(code).filter(|code| !code.is_empty());
        Self { carrier, channel, country, what, code, count }
    }
}

impl From<OpenBreaker> for BreakerAnswer {
    fn from(open: OpenBreaker) -> Self {
        let OpenBreaker { carrier, channel, country, probe_in_s } = open;
        Self { carrier, channel, country, probe_in_s }
    }
}

impl From<PausedCarrier> for PausedAnswer {
    fn from(pause: PausedCarrier) -> Self {
        let PausedCarrier { carrier, country, reason, by, until } = pause;
        Self { carrier, country, reason, by, until }
    }
}

fn process_answer(process: SeenReport, now: Timestamp) -> ProcessAnswer {
    ProcessAnswer {
        alive: process.is_alive(now),
        stopped: process.report.is_stopped,
        name: process.name,
        host: process.report.host,
        ops: process.report.ops,
        seen_at: process.seen_at,
        started_at: process.report.started_at,
        version: process.report.version,
        roles: process.report.roles,
        in_flight: process.report.in_flight,
        clock_ahead_s: process.report.clock_ahead_s,
    }
}

fn bad_filter() -> Problem {
    let detail = "the query may hold channel (sms or voice), carrier, country and tenant, each once";
    Problem::new(StatusCode::BAD_REQUEST, ProblemKind::Invalid, detail)
}

problems! {
    StatusProblems = authorized::operator_problems().into_iter().chain([bad_filter()]);
}
