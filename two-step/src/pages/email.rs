//! The page of an e-mail address: add, verify, change.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::answer::PageError;
use super::delivery::delivery;
use super::set_up::{enrolment, enrolment_error, enrolment_status, page, posted, proven, requester};
use super::sign_in::{error_word, finish};
use super::view::settings::{AddEmail, EmailCode, EmailError};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::challenge::SendRefused;
use crate::clock::seconds_until;
use crate::flow::{AddRefused, Entered, Entry, FlowError, Visitor as Guest};
use crate::method::{Kind, Method, MethodState};

/// `GET /settings/email`: the form for an address, or for the code that was mailed to one.
pub(super) async fn ask_email(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let pending = pending_of(&guest);
        let product = guest.account.product.clone();
        let Some(pending) = pending else {
            return Ok(email_form(&pages, &visitor, &guest, "", None));
        };
        let snapshot = match enrolment(&pages, &visitor, pending.id).await {
            Ok(snapshot) => snapshot,
            // The pending address is of another visit, so this visit starts again with the address.
            Err(PageError::Flow(FlowError::Missing("method"))) => {
                return Ok(email_form(&pages, &visitor, &guest, "", None));
            }
            Err(e) => return Err(e),
        };
        let view = EmailCode {
            page: page(&pages, &visitor, &guest),
            address: pages.core.target(pending)?.to_string(),
            delivery: delivery(&pages, &snapshot).await?,
            error: enrolment_error(query.as_deref(), &snapshot, &pages),
            sends: view_values::sends(&snapshot, &pages.core.config()),
        };
        Ok(pages.render(&visitor, &product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/email/status`
pub(super) async fn email_status(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Response {
    let pending = match proven(&pages, &visitor).await {
        Ok(guest) => pending_of(&guest).map(|m| m.id),
        Err(_) => None,
    };
    match pending {
        Some(method) => enrolment_status(&pages, &visitor, method).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns the pending address.
fn pending_of(guest: &Guest) -> Option<&Method> {
    guest.methods.iter().find(|m| m.kind == Kind::Email && m.state == MethodState::Pending)
}

fn email_form(
    pages: &Pages, visitor: &Visitor, guest: &Guest, address: &str, error: Option<EmailError>,
) -> Response {
    let second_step = pages.core.config().email.second_step;
    let view =
        AddEmail { page: page(pages, visitor, guest), address: address.to_owned(), second_step, error };
    let status = if view.error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    pages.render(visitor, &guest.account.product, status, &view)
}

/// `POST /settings/email`: takes an address, a code, "send again", or "another address".
pub(super) async fn email(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (guest, form) = posted(&pages, &visitor, &headers, body).await?;
        let pending = pending_of(&guest);
        if let (Some(pending), false) = (pending, form.text("code").is_empty()) {
            let challenge = pages.core.enrolment(&visitor.visit, pending.id).await?;
            let entry = Entry { text: form.text("code").to_owned(), ..Entry::default() };
            let to = match pages.core.enter(challenge, &requester(&visitor), &entry).await? {
                Entered::Verified { .. } => "/settings?done=added".to_owned(),
                entered => {
                    format!("/settings/email?error={}", error_word(&entered, false).unwrap_or_default())
                }
            };
            return Ok(pages.go(&visitor, &to, None));
        }
        if let (Some(pending), "email") = (pending, form.text("channel")) {
            let _ = pages.core.resend_first_code(&visitor.visit, pending.id, None).await?;
            return Ok(pages.go(&visitor, "/settings/email", None));
        }
        if form.is_ticked("change") {
            if let Some(pending) = pending {
                let _ = pages.core.change(&visitor.visit, pending.id, &crate::flow::Change::Remove).await?;
            }
            return Ok(pages.go(&visitor, "/settings/email", None));
        }
        let address = form.text("address");
        match pages.core.add_email(&visitor.visit, address).await? {
            Ok(_) => Ok(pages.go(&visitor, "/settings/email", None)),
            Err(refused) => {
                let error = match refused {
                    _ if address.trim().is_empty() => EmailError::Missing,
                    AddRefused::Known => EmailError::Known,
                    AddRefused::Send { refused: SendRefused::Limited { until }, now, .. } => {
                        EmailError::Limited(seconds_until(now, until))
                    }
                    _ => EmailError::Invalid,
                };
                Ok(email_form(&pages, &visitor, &guest, address, Some(error)))
            }
        }
    };
    finish(&pages, &visitor, answer.await)
}
