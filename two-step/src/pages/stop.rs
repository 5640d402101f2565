//! `/stop/{token}`: the page that each notice links to. A GET shows what happened; only the form stops anything.

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
use crate::flow::{Noticed, StopDone};

/// `GET /stop/{token}`
pub(super) async fn show(
    State(pages): State<Arc<Pages>>, Path(token): Path<String>, visitor: Visitor,
) -> Response {
    let answer = async {
        let Some(noticed) = pages.core.noticed(&token).await? else {
            return Ok(result(&pages, &visitor, None, StopResult::TooLate));
        };
        let Some(about) = &noticed.about else {
            return Ok(result(&pages, &visitor, Some(&noticed), StopResult::StoppedBefore));
        };
        let locale = noticed.account.locale.as_deref();
        let page = pages.page(&visitor, &noticed.account.product, locale, Uuid::nil());
        let view = Stop {
            detail: noticed.method.as_ref().map(|m| describe(page.lang, m)).unwrap_or_default(),
            page,
            change: change(about),
            at: noticed.at.as_second(),
            token,
        };
        Ok(pages.render(&visitor, &noticed.account.product, StatusCode::OK, &view))
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
        let noticed = pages.core.noticed(&token).await?;
        let shown = match pages.core.stop(&token).await? {
            StopDone::Stopped => StopResult::Stopped,
            StopDone::Before => StopResult::StoppedBefore,
            StopDone::TooLate => StopResult::TooLate,
        };
        Ok(result(&pages, &visitor, noticed.as_ref(), shown))
    };
    finish(&pages, &visitor, answer.await)
}

fn result(pages: &Pages, visitor: &Visitor, noticed: Option<&Noticed>, result: StopResult) -> Response {
    let product = noticed.map_or("", |n| n.account.product.as_str());
    let locale = noticed.and_then(|n| n.account.locale.as_deref());
    let page = match noticed {
        Some(_) => pages.page(visitor, product, locale, Uuid::nil()),
        None => Page::new(visitor.lang(locale), "", ""),
    };
    let status = if result == StopResult::TooLate { StatusCode::GONE } else { StatusCode::OK };
    pages.render(visitor, product, status, &Stopped { page, result })
}

/// The word of a notice as the pages know it.
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
