//! `/stop/{token}`: the page that each notice links to. A GET shows the event; only the form stops anything.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use super::Pages;
use super::form::Form;
use super::history::describe;
use super::sign_in::finish;
use super::view::Page;
use super::view::settings::Change;
use super::view::stop::{Stop, StopResult, Stopped};
use super::visitor::Visitor;
use crate::flow::{NoticeDetails, StopOutcome};

/// `GET /stop/{token}`
pub(super) async fn show(
    State(pages): State<Arc<Pages>>, Path(token): Path<String>, visitor: Visitor,
) -> Response {
    let answer = async {
        let Some(details) = pages.core.notice_details(&token).await? else {
            return Ok(result(&pages, &visitor, None, StopResult::TooLate));
        };
        let Some(about) = &details.about else {
            return Ok(result(&pages, &visitor, Some(&details), StopResult::StoppedBefore));
        };
        let locale = details.account.locale.as_deref();
        let page = pages.page(&visitor, &details.account.product, locale, Uuid::nil());
        let view = Stop {
            detail: details.method.as_ref().map(|m| describe(page.lang, m)).unwrap_or_default(),
            page,
            change: change(about),
            at: details.at.as_second(),
            token,
        };
        Ok(pages.render(&visitor, &details.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /stop/{token}`
pub(super) async fn stop(
    State(pages): State<Arc<Pages>>, Path(token): Path<String>, headers: HeaderMap, visitor: Visitor,
    body: Body,
) -> Response {
    let answer = async {
        Form::read_unbound(&pages, &headers, body).await?;
        let details = pages.core.notice_details(&token).await?;
        let shown = match pages.core.stop(&token).await? {
            StopOutcome::Stopped => StopResult::Stopped,
            StopOutcome::Before => StopResult::StoppedBefore,
            StopOutcome::TooLate => StopResult::TooLate,
        };
        Ok(result(&pages, &visitor, details.as_ref(), shown))
    };
    finish(&pages, &visitor, answer.await)
}

fn result(pages: &Pages, visitor: &Visitor, details: Option<&NoticeDetails>, result: StopResult) -> Response {
    let product = details.map_or("", |n| n.account.product.as_str());
    let locale = details.and_then(|n| n.account.locale.as_deref());
    let page = match details {
        Some(_) => pages.page(visitor, product, locale, Uuid::nil()),
        None => Page::new(visitor.lang(locale), "", ""),
    };
    let status = if result == StopResult::TooLate { StatusCode::GONE } else { StatusCode::OK };
    pages.render(visitor, product, status, &Stopped { page, result })
}

/// Converts the kind of a notice for the views.
fn change(about: &str) -> Change {
    match about {
        "method_added" => Change::MethodAdded,
        "method_removed" => Change::MethodRemoved,
        "turned_on" => Change::AccountOn,
        "turned_off" => Change::AccountOff,
        "recovery_used" => Change::RecoveryUsed,
        "recovery_renewed" => Change::RecoveryRenewed,
        "paused" => Change::AccountPaused,
        "method_resumed" => Change::MethodResumed,
        "key_changed" => Change::MethodKeyChanged,
        "method_paused" => Change::MethodPaused,
        "denied" => Change::ChallengeDenied,
        "support_asked" => Change::SupportAsked,
        "device_replayed" => Change::DeviceReplayed,
        _ => Change::AccountAlarm,
    }
}
