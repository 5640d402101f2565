//! What became of the last code: on the page, and for the script beside it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use uuid::Uuid;

use super::ask_app::asking;
use super::sign_in::{page, who};
use super::view::sign_in::{Asking, Delivery};
use super::view::{Channel, Proof};
use super::visitor::Visitor;
use super::{Pages, shown};
use crate::clock::seconds_until;
use crate::flow::{FlowError, Look};

/// What became of the last code. Where none was sent yet, a limit may be full.
pub(super) async fn delivery(pages: &Pages, look: &Look) -> Result<Option<Delivery>, FlowError> {
    let delivery = shown::delivery(look);
    if delivery != Some(Delivery::NotSent) {
        return Ok(delivery);
    }
    let full_until = pages.core.full_until(look).await?;
    let limited = full_until.map(|until| Delivery::Limited(Some(seconds_until(look.now, until))));
    Ok(limited.or(delivery))
}

/// `GET /challenge/{id}/status`: what the script shows beside the field.
pub(super) async fn status(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, visitor: Visitor,
) -> Response {
    let answer = async {
        let look = pages.core.look(id, &who(&visitor)).await?;
        status_of(&pages, &visitor, &look).await
    };
    match answer.await {
        Ok(status) => status,
        Err(FlowError::Missing(_)) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// The same for a challenge that asks an app.
async fn app_status(pages: &Pages, visitor: &Visitor, look: &Look) -> Result<Response, FlowError> {
    let asking = asking(pages, look).await?;
    let page = page(pages, visitor, look);
    // Where nothing is asked any more, the page is another one.
    let done = !matches!(asking, Asking::Waiting(_)) || !look.challenge.state.is_live();
    let body = json!({"delivery": asking.text(&page), "tone": asking.tone().word(), "done": done});
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}

pub(super) async fn status_of(pages: &Pages, visitor: &Visitor, look: &Look) -> Result<Response, FlowError> {
    let lang = super::answer::lang_of(visitor, look.challenge.locale.as_deref());
    if shown::proof(look) == Proof::App {
        return app_status(pages, visitor, look).await;
    }
    let delivery = delivery(pages, look).await?;
    let channel = shown::proof(look).channel();
    let text = delivery.zip(channel).map(|(d, channel)| d.text(lang, channel));
    let body = json!({
        "delivery": text, "tone": delivery.map(|d| d.tone().word()), "channel": channel.map(Channel::value),
        "done": !look.challenge.state.is_live(),
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}
