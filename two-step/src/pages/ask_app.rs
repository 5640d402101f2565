//! `/challenge/{id}` for the product's app.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use super::answer::PageError;
use super::form::Form;
use super::sign_in::{finish, page, read_error, shown_purpose};
use super::view::sign_in::{AskApp, Asking};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::app_request::RequestState;
use crate::clock::seconds_until;
use crate::flow::{ChallengeSnapshot, Entered, FlowError};

/// Returns the name of a product's app; `None` if it has none.
pub(super) fn app_name(pages: &Pages, product: &str) -> Option<String> {
    let config = pages.core.config();
    let product = config.product(product)?;
    let app = product.app.as_ref()?;
    Some(if app.name.is_empty() { product.name.clone() } else { app.name.clone() })
}

/// Returns the state of the request to the app.
pub(super) async fn asking(pages: &Pages, snapshot: &ChallengeSnapshot) -> Result<Asking, FlowError> {
    Ok(match &snapshot.request {
        Some(request) if request.is_open() => Asking::Waiting(pages.core.app_digits(request.id)),
        Some(request) if request.state == RequestState::Replaced => Asking::Replaced,
        _ => match pages.core.send_blocked_until(snapshot).await? {
            Some(until) => Asking::Limited(seconds_until(snapshot.now, until)),
            None => Asking::Idle,
        },
    })
}

/// Returns the page.
pub(super) async fn show(
    pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot, query: Option<&str>,
) -> Result<Response, PageError> {
    let product = &snapshot.account.product;
    let page = page(pages, visitor, snapshot);
    let method = snapshot.method();
    let view = AskApp {
        challenge: snapshot.challenge.id.to_string(),
        purpose: shown_purpose(snapshot.challenge.purpose),
        method: method.map(|m| m.id.to_string()).unwrap_or_default(),
        app: app_name(pages, product).unwrap_or_else(|| page.product.clone()),
        device: method.and_then(|m| m.label.clone()).unwrap_or_default(),
        asking: asking(pages, snapshot).await?,
        error: read_error(query, snapshot, pages),
        trust: view_values::trust(snapshot.challenge.purpose, &pages.core.config()),
        trust_ticked: query.is_some_and(|q| q.contains("trust=yes")),
        other_ways: snapshot.methods.iter().filter(|m| m.is_active()).count() > 1,
        page,
    };
    Ok(pages.render(visitor, product, StatusCode::OK, &view))
}

/// `POST /challenge/{id}/app`: continues after a confirmation in the app, or takes the app's code. One form does both. Its
/// first button is the one that the Enter key presses.
pub(super) async fn confirm(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let form = Form::read(&pages, &visitor, &headers, body, id).await?;
        let trust = form.is_ticked("trust");
        let kept = if trust { "?trust=yes" } else { "" };
        let here = format!("/challenge/{id}{kept}");
        Ok(match pages.core.continue_approved(id, &visitor.visit, trust).await? {
            Some(Entered::Verified { location, cookie, .. }) => {
                pages.go(&visitor, &location.unwrap_or(here), cookie.as_deref())
            }
            _ if !form.text("code").trim().is_empty() => {
                super::sign_in::entered(&pages, &visitor, id, &form).await?
            }
            // Ended or not answered yet. The page shows which.
            _ => pages.go(&visitor, &here, None),
        })
    };
    finish(&pages, &visitor, answer.await)
}
