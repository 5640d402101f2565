//! The requests to an app, and its answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::register::{Product, unsigned};
use super::{App, too_many_waits};
use crate::api::openapi::problems;
use crate::api::problem::Problem;
use crate::api::{body, query};
use crate::challenge::Purpose;
use crate::clock::seconds_until;
use crate::config::Config;
use crate::flow::{Answered, Core, FlowError, OpenAppRequest, VerifiedRequest};

/// Maximum `wait` of a long poll, in seconds.
const MAX_WAIT_S: u64 = 30;
/// Life of a stream. It ends before a proxy would cut it off, and the app opens another one.
const STREAM_LIFE: Duration = Duration::from_secs(300);

/// A request: "Is this you?"
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct RequestAnswer {
    /// The id.
    id: Uuid,
    /// The product.
    product: Product,
    /// The purpose: `sign_in`, `new_device`, `confirm` (the product requests a proof) or `settings`.
    purpose: Purpose,
    /// Browser and system of the person who signs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Firefox · Windows")]
    agent: Option<String>,
    /// The location of that browser, if the product knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Leeds, GB")]
    place: Option<String>,
    /// Whether that browser is on another network than this app. That is normal for a phone on mobile data. Absent if the
    /// browser's network is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    other_network: Option<bool>,
    /// The number of digits that the page shows.
    digits: u32,
    /// When it was created.
    created_at: Timestamp,
    /// When it expires.
    expires_at: Timestamp,
}

/// The requests of an app.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct RequestsAnswer {
    /// The open requests; at most one at a time.
    requests: Vec<RequestAnswer>,
    /// The server's time.
    now: Timestamp,
}

impl RequestsAnswer {
    fn open(&self) -> Option<Uuid> {
        self.requests.first().map(|request| request.id)
    }
}

fn describe(open_request: OpenAppRequest, config: &Config) -> RequestAnswer {
    RequestAnswer {
        id: open_request.request.id,
        product: Product::of(open_request.product, config),
        purpose: open_request.challenge.purpose,
        agent: open_request.challenge.agent,
        place: open_request.challenge.place,
        other_network: open_request.other_network,
        digits: config.app.number_digits,
        created_at: open_request.request.created_at,
        expires_at: open_request.challenge.expires_at,
    }
}

async fn now(core: &Core, call: &VerifiedRequest) -> Result<RequestsAnswer, Problem> {
    let (open_request, now) = match core.app_requests(call).await {
        // The key was removed or replaced while the app waited.
        Err(FlowError::Missing(_)) => return Err(Problem::unknown_key()),
        found => found?,
    };
    let config = core.config();
    Ok(RequestsAnswer { requests: open_request.into_iter().map(|a| describe(a, &config)).collect(), now })
}

/// The parameters of the list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "used only by the contract")]
pub(super) struct ListQuery {
    /// Maximum seconds to wait for a change. Without it the server answers at once.
    #[param(minimum = 0, maximum = 30, nullable = false)]
    wait: Option<u32>,
    /// The request that the app already shows. The server answers when the open request differs from this one.
    #[param(nullable = false)]
    seen: Option<Uuid>,
}

/// List requests
///
/// With `wait` the server answers after a change, or when the time has passed (long poll).
#[utoipa::path(
    get,
    operation_id = "listAppRequests",
    path = "/app/v1/requests",
    tag = "app",
    params(ListQuery),
    responses((status = 200, description = "The open requests", body = RequestsAnswer), ListProblems)
)]
pub(super) async fn list(
    State(app): State<Arc<App>>, request: Request,
) -> Result<Json<RequestsAnswer>, Problem> {
    let [wait, seen] = query::read(request.uri().query(), ["wait", "seen"])?;
    let wait = wait.map_or(Ok(0), |text| text.parse::<u64>()).ok().filter(|s| *s <= MAX_WAIT_S);
    let wait = wait.ok_or_else(bad_wait)?;
    let seen: Option<Uuid> = match seen.map(|text| text.parse()).transpose() {
        Ok(seen) => seen,
        Err(_) => return Err(Problem::invalid("seen", "must be the id of a request")),
    };
    let (call, _) = app.call(request).await?;
    let _permit = if wait > 0 { Some(app.start_wait(call.key.method)?) } else { None };
    let end = Instant::now() + Duration::from_secs(wait);
    loop {
        let answer = now(&app.core, &call).await?;
        if answer.open() != seen || Instant::now() >= end || app.core.waits_are_closed() {
            return Ok(Json(answer));
        }
        let _ = timeout_at(end, app.core.wait_for_app_change(&call.key, seen)).await;
    }
}

fn bad_wait() -> Problem {
    Problem::invalid("wait", "must be 0 to 30 seconds")
}

/// Stream requests
///
/// Server-sent events. Each event `requests` has the content of `GET /app/v1/requests`, at once and after each change. The
/// stream ends after five minutes.
#[utoipa::path(
    get,
    operation_id = "streamAppRequests",
    path = "/app/v1/stream",
    tag = "app",
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String), StreamProblems)
)]
pub(super) async fn stream(
    State(app): State<Arc<App>>, request: Request,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (call, _) = app.call(request).await?;
    let permit = app.start_wait(call.key.method)?;
    let end = Instant::now() + STREAM_LIFE;
    let state = (app, call, None::<Option<Uuid>>, permit);
    let events = futures_util::stream::unfold(state, move |(app, call, sent, permit)| async move {
        while Instant::now() < end && !app.core.waits_are_closed() {
            let answer = now(&app.core, &call).await.ok()?;
            let open = answer.open();
            if sent != Some(open) {
                let event = Event::default().event("requests").json_data(&answer).ok()?;
                return Some((Ok(event), (Arc::clone(&app), call, Some(open), permit)));
            }
            let _ = timeout_at(end, app.core.wait_for_app_change(&call.key, open)).await;
        }
        None
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// The digits of the page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveBody {
    /// The digits as the user typed them.
    #[schema(example = "481516")]
    digits: String,
}

/// The result of an answer.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum AnsweredAnswer {
    /// Approved: the browser continues.
    Approved,
    /// The sign-in has ended.
    Denied {
        /// When this app gets requests again, after a second denial within an hour.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        paused_until: Option<Timestamp>,
    },
    /// The digits are wrong.
    Wrong {
        /// Entries left. After the last one the answer is 409 `ended` with the state `locked`.
        #[schema(minimum = 1)]
        left: u32,
    },
}

fn answer(app: &App, answered: &Answered) -> Result<Json<AnsweredAnswer>, Problem> {
    match *answered {
        Answered::Approved => Ok(Json(AnsweredAnswer::Approved)),
        Answered::Denied { paused_until } => Ok(Json(AnsweredAnswer::Denied { paused_until })),
        Answered::Wrong { left } => Ok(Json(AnsweredAnswer::Wrong { left })),
        Answered::Unreadable => Err(unreadable(app.core.config().app.number_digits)),
        Answered::Paused { until, now } => Err(paused(seconds_until(now, until))),
        Answered::Replaced => Err(Problem::request_replaced()),
        Answered::Ended(state) => Err(Problem::ended(state.into())),
    }
}

fn unreadable(digits: u32) -> Problem {
    Problem::invalid("digits", &format!("must be the {digits} digits that the page shows"))
}

fn paused(retry_after_s: u64) -> Problem {
    Problem::locked("too many wrong codes; the account is paused", retry_after_s)
}

fn id_of(id: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::not_found())
}

/// Approve
///
/// The user types the digits that the page shows. Wrong digits count like wrong codes.
#[utoipa::path(
    post,
    operation_id = "approveAppRequest",
    path = "/app/v1/requests/{id}/approve",
    tag = "app",
    params(("id" = Uuid, Path, description = "The request's id")),
    request_body = ApproveBody,
    responses((status = 200, description = "Approved, or wrong digits", body = AnsweredAnswer), ApproveProblems)
)]
pub(super) async fn approve(
    State(app): State<Arc<App>>, id: Result<Path<Uuid>, PathRejection>, request: Request,
) -> Result<Json<AnsweredAnswer>, Problem> {
    let (call, body) = app.call(request).await?;
    let wanted: ApproveBody = body::parse(&body)?;
    let answered = app.core.approve(&call, id_of(id)?, &wanted.digits).await?;
    answer(&app, &answered)
}

/// Deny
///
/// "It was not me": the sign-in ends, and the product gets an event.
#[utoipa::path(
    post,
    operation_id = "denyAppRequest",
    path = "/app/v1/requests/{id}/deny",
    tag = "app",
    params(("id" = Uuid, Path, description = "The request's id")),
    responses((status = 200, description = "The sign-in has ended", body = AnsweredAnswer), DenyProblems)
)]
pub(super) async fn deny(
    State(app): State<Arc<App>>, id: Result<Path<Uuid>, PathRejection>, request: Request,
) -> Result<Json<AnsweredAnswer>, Problem> {
    let (call, _) = app.call(request).await?;
    let answered = app.core.deny(&call, id_of(id)?).await?;
    answer(&app, &answered)
}

/// A code for the page.
#[derive(Serialize, ToSchema)]
pub(super) struct CodeAnswer {
    /// Six digits.
    code: String,
    /// When the code expires.
    expires_at: Timestamp,
}

/// Get a code
///
/// For a user who prefers to type a code on the page. While a code is live, the same one is returned.
#[utoipa::path(
    post,
    operation_id = "fetchAppCode",
    path = "/app/v1/requests/{id}/code",
    tag = "app",
    params(("id" = Uuid, Path, description = "The request's id")),
    responses((status = 200, description = "The code", body = CodeAnswer), CodeProblems)
)]
pub(super) async fn code(
    State(app): State<Arc<App>>, id: Result<Path<Uuid>, PathRejection>, request: Request,
) -> Result<Json<CodeAnswer>, Problem> {
    let (call, _) = app.call(request).await?;
    match app.core.app_code(&call, id_of(id)?).await? {
        Ok((code, expires_at)) => Ok(Json(CodeAnswer { code: code.expose().to_owned(), expires_at })),
        Err(answered) => Err(answer(&app, &answered).err().unwrap_or_else(Problem::not_found)),
    }
}

problems! {
    ListProblems = [unsigned(), vec![bad_wait(), too_many_waits()]];
    StreamProblems = [unsigned(), vec![too_many_waits()]];
    ApproveProblems = [body::problems(), unsigned(), vec![Problem::not_found(), Problem::ended("denied"), Problem::request_replaced(), unreadable(6), paused(60), Problem::limited("a rate limit is reached", 60)]];
    DenyProblems = [unsigned(), vec![Problem::not_found(), Problem::ended("verified")]];
    CodeProblems = [unsigned(), vec![Problem::not_found(), Problem::ended("denied"), Problem::request_replaced(), paused(60)]];
}
