//! Health, metrics and logs, for operators.
//!
//! Comes in: counts and states from all parts. Goes out: `/livez`, `/readyz`, `/metrics`, a page, log lines. Nothing here changes a
//! dispatch.

pub mod crash;
pub mod dashboard;
pub mod delivery_counter;
pub mod failures;
pub mod metrics;
mod page;
pub mod report;
mod share;
pub mod status;
pub mod telemetry;
pub mod traces;
pub mod verdict;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::live::Live;
use crate::ops::metrics::{Format, Metrics};
use crate::ops::status::Source;

/// Readiness check of a role: `None` when ready, otherwise a sentence that says why not.
pub type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// State of the operations endpoint.
#[derive(Clone)]
pub struct Ops {
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The readiness check of each role of this process.
    pub roles: Live<BTreeMap<&'static str, Readiness>>,
    /// Token required for `/metrics` and the page. `None` disables the check.
    pub token: Option<SecretString>,
    /// The status of the deployment, which the page shows.
    pub status: Arc<dyn Source>,
    /// Permits of open pages.
    viewers: Arc<Semaphore>,
    /// Ends open streams on cancellation.
    pub shutdown: CancellationToken,
}

impl Ops {
    /// The operations endpoint of a process.
    pub fn new(
        metrics: Arc<Metrics>, roles: Live<BTreeMap<&'static str, Readiness>>, token: Option<SecretString>,
        status: Arc<dyn Source>, shutdown: CancellationToken,
    ) -> Self {
        let viewers = Arc::new(Semaphore::new(page::MAX_VIEWERS));
        Self { metrics, roles, token, status, viewers, shutdown }
    }

    /// The routes of the operations endpoint.
    pub fn router(self) -> Router {
        let page = Router::new()
            .route("/", get(page::show))
            .route("/live", get(page::follow))
            .route("/dispatches/{tenant}/{id}", get(page::dispatch))
            .layer(from_fn_with_state(self.clone(), may_see_page));
        Router::new()
            .merge(page)
            .route("/page.css", get(page::style))
            .route("/page.js", get(page::script))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readiness))
            .route("/readyz/{role}", get(role_readiness))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let given = bearer(headers).map(str::to_owned).or_else(|| password(headers));
        self.token.as_ref().is_none_or(|token| {
            given.is_some_and(|given| bool::from(token.expose_secret().as_bytes().ct_eq(given.as_bytes())))
        })
    }
}

/// The bearer token of a request. The word `Bearer` may be in any case (RFC 9110, 11.1), and some clients write more than one space.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) =
        headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The password of a request with `Authorization: Basic`, which browsers ask for.
fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let given = BASE64.decode(given.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    String::from_utf8(given).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

/// Without a token, a page on the internet could read the status under its own host name (DNS rebinding), so only addresses and
/// `localhost` are answered.
fn is_local_name(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

async fn may_see_page(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    if !ops.is_authorized(request.headers()) {
        let how = [(header::WWW_AUTHENTICATE, "Basic realm=\"otpost\", charset=\"UTF-8\"")];
        let text = "The page needs the token of ops.token: as the password, with any user name, or as a bearer token.\n";
        return (StatusCode::UNAUTHORIZED, how, text).into_response();
    }
    if ops.token.is_none() && !is_local_name(request.headers()) {
        return page::foreign_host();
    }
    next.run(request).await
}

async fn metrics(State(ops): State<Ops>, headers: HeaderMap) -> Response {
    if !ops.is_authorized(&headers) {
        let how = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (
            StatusCode::UNAUTHORIZED,
            how,
            "/metrics needs the bearer token of ops.token: Authorization: Bearer …\n",
        )
            .into_response();
    }
    let format = Format::accepted(&headers);
    ([(header::CONTENT_TYPE, format.content_type())], ops.metrics.text(format)).into_response()
}

async fn readiness(State(ops): State<Ops>) -> Response {
    let problems: BTreeMap<_, _> = ops.roles.current().iter().map(|(role, ready)| (*role, ready())).collect();
    answer(problems)
}

async fn role_readiness(State(ops): State<Ops>, Path(role): Path<String>) -> Response {
    match ops.roles.current().get_key_value(role.as_str()) {
        Some((role, ready)) => answer([(*role, ready())].into()),
        None => (StatusCode::NOT_FOUND, "this process does not have that role\n").into_response(),
    }
}

fn answer(problems: BTreeMap<&'static str, Option<String>>) -> Response {
    let ready = problems.values().all(Option::is_none);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let roles: BTreeMap<_, _> =
        problems.into_iter().map(|(role, p)| (role, p.unwrap_or("ready".to_owned()))).collect();
    (status, Json(json!({"ready": ready, "roles": roles}))).into_response()
}
