//! The state of the last code, for the page and its script.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::ask_app::asking;
use super::sign_in::{page, requester};
use super::view::sign_in::{Asking, Delivery};
use super::view::{Channel, Proof};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::clock::seconds_until;
use crate::flow::{ChallengeSnapshot, FlowError};

/// Returns the state of the last code. If none was sent yet, a limit may be the cause.
pub(super) async fn delivery(
    pages: &Pages, snapshot: &ChallengeSnapshot,
) -> Result<Option<Delivery>, FlowError> {
    let delivery = view_values::delivery(snapshot);
    if delivery != Some(Delivery::NotSent) {
        return Ok(delivery);
    }
    let full_until = pages.core.send_blocked_until(snapshot).await?;
    let limited = full_until.map(|until| Delivery::Limited(Some(seconds_until(snapshot.now, until))));
    Ok(limited.or(delivery))
}

/// `GET /challenge/{id}/status`: the state for the page's script.
pub(super) async fn status(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, visitor: Visitor,
) -> Response {
    let answer = async {
        let snapshot = pages.core.challenge_snapshot(id, &requester(&visitor)).await?;
        status_of(&pages, &visitor, &snapshot).await
    };
    match answer.await {
        Ok(status) => status,
        Err(FlowError::Missing(_)) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The same for a challenge with a request to an app.
async fn app_status(
    pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot,
) -> Result<Response, FlowError> {
    let asking = asking(pages, snapshot).await?;
    let page = page(pages, visitor, snapshot);
    // If no request is open, the script must load another page.
    let done = !matches!(asking, Asking::Waiting(_)) || !snapshot.challenge.state.is_live();
    let body = json!({"delivery": asking.text(&page), "tone": asking.tone().word(), "done": done});
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}

pub(super) async fn status_of(
    pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot,
) -> Result<Response, FlowError> {
    let lang = super::answer::lang_of(visitor, snapshot.challenge.locale.as_deref());
    if view_values::proof(snapshot) == Proof::App {
        return app_status(pages, visitor, snapshot).await;
    }
    let delivery = delivery(pages, snapshot).await?;
    let channel = view_values::proof(snapshot).channel();
    let text = delivery.zip(channel).map(|(d, channel)| d.text(lang, channel));
    let body = json!({
        "delivery": text, "tone": delivery.map(|d| d.tone().word()), "channel": channel.map(Channel::value),
        "done": !snapshot.challenge.state.is_live(), "wait_s": view_values::wait_s(snapshot),
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}
