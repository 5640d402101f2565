//! The page of one method.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use super::Pages;
use super::set_up::{page, posted, proven};
use super::settings::{channel, notice, row};
use super::sign_in::finish;
use super::view::settings::{CodeOffer, MethodPage, MethodProblem, PhoneChoice, RemoveMethod};
use super::visitor::Visitor;
use crate::flow::{Change, ChangeRefused, FlowError, Visitor as Guest};
use crate::method::{Channel, Kind, MethodState, is_primary, may_be_on};

/// `GET /settings/methods/{id}`
pub(super) async fn show(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        Ok(method_page(&pages, &visitor, &guest, id, query.as_deref(), None)?)
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/methods/{id}/remove`: asks for confirmation.
pub(super) async fn ask_remove(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let method = guest.methods.iter().find(|m| m.id == id).ok_or(FlowError::Missing("method"))?;
        let is_told = method.target_sealed.is_some();
        let view = RemoveMethod {
            page: page(&pages, &visitor, &guest),
            method: row(&pages, &guest, method),
            is_told,
        };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

fn method_page(
    pages: &Pages, visitor: &Visitor, guest: &Guest, id: Uuid, query: Option<&str>,
    problem: Option<(MethodProblem, String)>,
) -> Result<Response, FlowError> {
    let method = guest.methods.iter().find(|m| m.id == id).ok_or(FlowError::Missing("method"))?;
    let product = &guest.account.product;
    let left: Vec<Kind> =
        guest.methods.iter().filter(|m| m.is_active() && m.id != id).map(|m| m.kind).collect();
    let may_remove = !guest.account.is_on() || may_be_on(&left, pages.core.config().email.second_step);
    let phone = (method.kind == Kind::Phone).then(|| PhoneChoice {
        channel: channel(method),
        no_texts: method.no_texts,
        voice: pages.core.config().otpost.calls,
        fallback: method.fallback,
    });
    let may_prefer = method.is_active() && is_primary(method.kind, pages.core.config().email.second_step);
    let code = match (method.state, method.kind) {
        (MethodState::Active, Kind::Email) if !pages.core.config().email.second_step => CodeOffer::Nothing,
        (MethodState::Active, Kind::Phone | Kind::Email) => CodeOffer::Test,
        (MethodState::Paused, Kind::Phone) => CodeOffer::Prove,
        _ => CodeOffer::Nothing,
    };
    let method = row(pages, guest, method);
    let view = MethodPage {
        page: page(pages, visitor, guest),
        notice: notice(query),
        method,
        problem,
        phone,
        code,
        may_prefer,
        may_remove,
    };
    Ok(pages.render(visitor, product, StatusCode::OK, &view))
}

/// `POST /settings/methods/{id}`
pub(super) async fn change(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (guest, form) = posted(&pages, &visitor, &headers, body).await?;
        let here = format!("/settings/methods/{id}");
        let change = match form.text("action") {
            "rename" => Change::Rename(form.text("label").to_owned()),
            "prefer" => Change::Prefer,
            "channel" => Change::Channel(form.text("channel").parse().unwrap_or(Channel::Sms)),
            "fallback" => Change::Fallback(form.text("fallback") == "on"),
            "remove" => Change::Remove,
            "test" => {
                let sent = pages.core.send_test(&visitor.visit, id).await?;
                let word = if sent.is_ok() { "test" } else { "limited" };
                return Ok(pages.go(&visitor, &format!("{here}?done={word}"), None));
            }
            _ => return Ok(pages.go(&visitor, &here, None)),
        };
        let removes = change == Change::Remove;
        let to = match pages.core.change(&visitor.visit, id, &change).await? {
            Err(ChangeRefused::Label) => {
                let problem = Some((
                    MethodProblem::Name { max: crate::flow::MAX_LABEL_CHARS as u32 },
                    form.text("label").to_owned(),
                ));
                return Ok(method_page(&pages, &visitor, &guest, id, None, problem)?);
            }
            Err(ChangeRefused::Last) => format!("{here}?done=last"),
            Ok(()) if removes => "/settings?done=removed".to_owned(),
            Ok(()) => format!("{here}?done=saved"),
        };
        Ok(pages.go(&visitor, &to, None))
    };
    finish(&pages, &visitor, answer.await)
}
