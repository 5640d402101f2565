//! `/settings/history`: the events of the account.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use uuid::Uuid;

use super::set_up::{page, proven};
use super::sign_in::finish;
use super::view::settings::{Actor, Change, Entry, History};
use super::view::{Lang, MethodKind, Proof};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::flow::Visitor as Guest;
use crate::method::{Kind, Method};
use crate::store::Event;

/// `GET /settings/history`
pub(super) async fn history(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let (events, more) = pages.core.history(guest.account.id, before(query.as_deref())).await?;
        let page = page(&pages, &visitor, &guest);
        let entries = events.iter().filter_map(|event| entry(page.lang, &guest, event)).collect();
        let oldest = events.last().filter(|_| more);
        let older = oldest.map(|event| format!("/settings/history?before={}", event.id));
        let view = History { page, entries, older };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// Returns the event that the page ends before.
fn before(query: Option<&str>) -> Option<Uuid> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    pairs.find(|(key, _)| key == "before").and_then(|(_, id)| id.parse().ok())
}

/// Returns `None` for events that users do not see.
fn entry(lang: Lang, guest: &Guest, event: &Event) -> Option<Entry> {
    let actor = match event.actor.split(':').next() {
        Some("user") => Actor::User,
        Some("product") => Actor::Product,
        Some("support") => Actor::Support,
        _ => Actor::Service,
    };
    let change = Change::from_event_type(&event.kind)?;
    Some(Entry { at: event.at.as_second(), change, detail: detail(lang, guest, event), actor })
}

/// Names the method or the proof: "Phone · Number that ends in 42". For a removed method, only its kind.
fn detail(lang: Lang, guest: &Guest, event: &Event) -> String {
    let data: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
    let word = |key: &str| data.get(key).and_then(serde_json::Value::as_str);
    if event.kind == "challenge.verified" {
        let by_trust = || MethodKind::trusted_device(lang);
        let way = word("method").map_or("", |w| Proof::from_word(w).map_or_else(by_trust, |p| p.name(lang)));
        return match data.get("other_network") {
            Some(_) => format!("{way} · {}", lang.texts().history.other_network),
            None => way.to_owned(),
        };
    }
    let id: Option<Uuid> = word("method").and_then(|id| id.parse().ok());
    if let Some(method) = id.and_then(|id| guest.methods.iter().find(|m| m.id == id)) {
        return describe(lang, method);
    }
    let kind: Option<Kind> = word("kind").and_then(|kind| kind.parse().ok());
    kind.map_or("", |kind| view_values::kind(kind).name(lang)).to_owned()
}

/// Describes a method in one line: the user's name for it or its kind, and its target.
pub(super) fn describe(lang: Lang, method: &Method) -> String {
    let kind = view_values::kind(method.kind);
    let place = kind.place(lang, &method.hint);
    match &method.label {
        Some(name) if place.is_empty() => name.clone(),
        Some(name) => format!("{name} · {place}"),
        None => kind.describe(lang, &method.hint),
    }
}
