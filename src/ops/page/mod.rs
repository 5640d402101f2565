//! The page for operators: the verdict, the numbers and the processes, on one screen.
//!
//! It is rendered here and works without a script. With one, it updates itself. A query filters it, such as `?carrier=acme`.

mod chart;
mod link;
mod parts;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use super::Ops;
use super::status::{FailedDispatch, Status};
use super::verdict::Group;
use crate::domain::channel::Channel;

/// Interval at which an open page is updated.
const UPDATE_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum number of open pages of a process.
pub(super) const MAX_VIEWERS: usize = 32;
/// Interval of reloads without a script, in seconds.
const RELOAD_S: u64 = 15;
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// The filter of the page. An empty value filters nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    channel: String,
    carrier: String,
    country: String,
    tenant: String,
}

impl From<Filter> for Group {
    fn from(filter: Filter) -> Self {
        let given = |value: String| Some(value).filter(|value| !value.is_empty());
        Self {
            channel: filter.channel.parse::<Channel>().ok(),
            carrier: given(filter.carrier),
            country: given(filter.country.to_ascii_uppercase()),
            tenant: given(filter.tenant),
        }
    }
}

/// `GET /`
pub(super) async fn show(State(ops): State<Ops>, Query(filter): Query<Filter>) -> Response {
    let filter = filter.into();
    let status = Status::new(&*ops.status.snapshot().await, &filter);
    let failed = ops.status.failed(&filter).await;
    (HEADERS, Html(page(&status, &failed, &filter).into_string())).into_response()
}

/// `GET /dispatches/{tenant}/{id}`
pub(super) async fn dispatch(
    State(ops): State<Ops>, Path((tenant, id)): Path<(String, String)>, Query(filter): Query<Filter>,
) -> Response {
    let found = match id.parse() {
        Ok(id) => ops.status.dispatch(&tenant, id).await,
        Err(_) => None,
    };
    let Some(found) = found else {
        let text = "No such dispatch is known, or the ledger does not answer.\n";
        return (StatusCode::NOT_FOUND, HEADERS, text).into_response();
    };
    let body = html! { main { (parts::dispatch(&found, &filter.into())) } };
    (HEADERS, Html(document(&found.mask, &html! {}, &body).into_string())).into_response()
}

/// `GET /live`: streams the main part of the page every 5 s.
pub(super) async fn follow(State(ops): State<Ops>, Query(filter): Query<Filter>) -> Response {
    let filter: Group = filter.into();
    let Ok(viewer) = Arc::clone(&ops.viewers).try_acquire_owned() else { return too_many_viewers() };
    let shutdown = ops.shutdown.clone().cancelled_owned();
    let updates = stream::unfold((ops, filter, viewer), |(ops, filter, viewer)| async move {
        tokio::time::sleep(UPDATE_INTERVAL).await;
        let status = Status::new(&*ops.status.snapshot().await, &filter);
        let failed = ops.status.failed(&filter).await;
        let event = Event::default().data(content(&status, &failed, &filter).into_string());
        Some((Ok::<_, Infallible>(event), (ops, filter, viewer)))
    });
    let updates = updates.take_until(shutdown);
    (HEADERS, Sse::new(updates).keep_alive(KeepAlive::default())).into_response()
}

pub(super) async fn style() -> Response {
    (HEADERS, [(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

pub(super) async fn script() -> Response {
    (HEADERS, [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// The answer to a request whose `Host` is not allowed.
pub(super) fn foreign_host() -> Response {
    let text = "Without ops.token this page answers only at an address or at localhost. Set ops.token to use a name.\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn too_many_viewers() -> Response {
    let text = "Too many pages are open. Close some, or look at the page of another process.\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

fn page(status: &Status, failed: &[FailedDispatch], filter: &Group) -> Markup {
    let title = if status.findings.is_empty() { "Codes arrive" } else { "Look here" };
    let updates = html! {
        script src="/page.js" defer {}
        noscript { meta http-equiv="refresh" content=(RELOAD_S); }
    };
    let body = html! {
        main id="status" { (content(status, failed, filter)) }
        p id="announcement" role="status" {}
    };
    document(title, &updates, &body)
}

/// A page with further elements in its head.
fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · otpost" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/page.css";
                (head)
            }
            body { (body) }
        }
    }
}

/// The part of the page that updates itself.
fn content(status: &Status, failed: &[FailedDispatch], filter: &Group) -> Markup {
    html! {
        (parts::heading(status, filter))
        (parts::verdict(status))
        (parts::funnel(status))
        (parts::tiles(status))
        (chart::throughput(status))
        (chart::handset_time(status))
        (parts::failures(status))
        (parts::failed(failed, filter))
        (parts::tables(status, filter))
        (parts::machine(status))
    }
}
