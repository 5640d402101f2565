//! `/challenge/{id}/ways`: lists all methods to choose from.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use uuid::Uuid;

use super::Pages;
use super::answer::PageError;
use super::form::Form;
use super::sign_in::{ended_page, finish, page, requester, shown_purpose};
use super::view::Proof;
use super::view::sign_in::{SendProblem, Way, Ways};
use super::visitor::Visitor;
use crate::challenge::SendRefused;
use crate::clock::seconds_until;
use crate::flow::ChallengeSnapshot;
use crate::method::{Channel, Kind, Method};

/// `GET /challenge/{id}/ways`
pub(super) async fn ways(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let snapshot = pages.core.challenge_snapshot(id, &requester(&visitor)).await?;
        if !snapshot.challenge.state.is_live() {
            return Ok(ended_page(&pages, &visitor, &snapshot));
        }
        let wait = snapshot
            .challenge
            .next_send_at
            .filter(|at| *at > snapshot.now)
            .map(|at| seconds_until(snapshot.now, at));
        let view = Ways {
            page: page(&pages, &visitor, &snapshot),
            challenge: id.to_string(),
            purpose: shown_purpose(snapshot.challenge.purpose),
            ways: all_ways(&snapshot, wait, &pages),
            sent: snapshot.challenge.sends > 0,
            back: snapshot.method().is_some(),
            problem: match query.as_deref() {
                Some(limited) if limited.starts_with("problem=limited") => {
                    Some(SendProblem::Limited(limited_s(&pages, &snapshot, wait, limited).await?))
                }
                Some("problem=used-up") => Some(SendProblem::UsedUp),
                Some("problem=method") => Some(SendProblem::NotPossible),
                _ => None,
            },
        };
        Ok(pages.render(&visitor, &snapshot.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// Seconds until the next send is allowed: for this challenge, for this account, or for the method in the query.
async fn limited_s(
    pages: &Pages, snapshot: &ChallengeSnapshot, wait: Option<u64>, query: &str,
) -> Result<u64, PageError> {
    let named = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "method");
    let named = named.and_then(|(_, id)| id.parse::<Uuid>().ok());
    let full = match snapshot.methods.iter().find(|m| Some(m.id) == named) {
        Some(method) => pages.core.method_blocked_until(snapshot, method).await?,
        None => None,
    };
    let until =
        full.max(snapshot.account.pause(snapshot.now)).map(|until| seconds_until(snapshot.now, until));
    Ok(until.max(wait).unwrap_or(30))
}

fn all_ways(snapshot: &ChallengeSnapshot, wait: Option<u64>, pages: &Pages) -> Vec<Way> {
    let config = &pages.core.config();
    let second_step = config.email.second_step;
    let usable = snapshot.methods.iter().filter(|m| m.is_active() && snapshot.may_prove(m, second_step));
    let mut active: Vec<&Method> = usable.collect();
    let rank = |kind: Kind| match kind {
        Kind::App | Kind::Totp => 0,
        Kind::Phone => 1,
        Kind::Email => 2,
        Kind::Recovery => 3,
    };
    active.sort_by_key(|m| rank(m.kind));
    let mut ways = vec![];
    for method in active {
        let mut push = |proof: Proof| {
            let sends = proof.channel().is_some();
            ways.push(Way {
                method: method.id.to_string(),
                proof,
                name: method.label.clone(),
                hint: if method.kind == Kind::Totp { String::new() } else { method.hint.clone() },
                wait: wait.filter(|_| sends),
            });
        };
        match method.kind {
            Kind::Totp => push(Proof::Totp),
            Kind::Phone => {
                if !method.no_texts {
                    push(Proof::Sms);
                }
                if config.otpost.calls {
                    push(Proof::Voice);
                }
            }
            Kind::Email => push(Proof::Email),
            Kind::Recovery => push(Proof::Recovery),
            Kind::App => push(Proof::App),
        }
    }
    ways
}

/// `POST /challenge/{id}/ways`: chooses another method.
pub(super) async fn choose(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let form = Form::read(&pages, &visitor, &headers, body, id).await?;
        let channel = form.text("proof").parse::<Channel>().ok();
        let method = form.id("method");
        let to = match pages.core.send(id, &requester(&visitor), method, channel).await? {
            Err(SendRefused::Method) => format!("/challenge/{id}/ways?problem=method"),
            Err(SendRefused::Limited { .. }) => {
                let method = method.map_or_else(String::new, |method| format!("&method={method}"));
                format!("/challenge/{id}/ways?problem=limited{method}")
            }
            Err(SendRefused::UsedUp) => format!("/challenge/{id}/ways?problem=used-up"),
            Ok(()) | Err(SendRefused::Ended(_)) => format!("/challenge/{id}"),
        };
        Ok(pages.go(&visitor, &to, None))
    };
    finish(&pages, &visitor, answer.await)
}
