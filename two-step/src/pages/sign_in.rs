//! The pages of a challenge.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method as Verb, StatusCode, header};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::answer::PageError;
use super::delivery::delivery;
use super::form::Form;
use super::view::ended::{End, Ended};
use super::view::sign_in::{EnterCode, EntryError, LostPhone, Purpose as Shown};
use super::view::{Page, Proof};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::challenge::{ChallengeState, Purpose};
use crate::clock::seconds_until;
use crate::code::TypedText as Typed;
use crate::flow::{ChallengeSnapshot, Claimed, Entered, Entry, FlowError, Requester};
use crate::method::{Channel, Kind, signs_in_without};

type Answer = Result<Response, PageError>;

/// The page of a handler, or the page of its error.
pub(super) fn finish(pages: &Pages, visitor: &Visitor, answer: Answer) -> Response {
    answer.unwrap_or_else(|e| pages.error(visitor, &e))
}

/// Returns whether a GET must not claim anything: a HEAD, or a prefetch of the browser.
pub(super) fn is_idle(verb: &Verb, headers: &HeaderMap) -> bool {
    let ahead = |name: &str| headers.get(name).is_some_and(|v| v.as_bytes().starts_with(b"prefetch"));
    verb == Verb::HEAD || ahead("sec-purpose") || ahead("purpose")
}

/// `GET /c/{handle}`: claims a challenge for a browser.
pub(super) async fn claim(
    State(pages): State<Arc<Pages>>, Path(handle): Path<String>, verb: Verb, headers: HeaderMap,
    visitor: Visitor,
) -> Response {
    if is_idle(&verb, &headers) {
        return ([(header::CACHE_CONTROL, "no-store")], StatusCode::NO_CONTENT).into_response();
    }
    let answer = match pages.core.claim(&handle, &visitor.visit).await {
        Ok((Claimed::Open { challenge }, device)) => {
            Ok(pages.go(&visitor, &format!("/challenge/{challenge}"), device.as_deref()))
        }
        Ok((Claimed::Verified { location }, device)) => Ok(pages.go(&visitor, &location, device.as_deref())),
        Ok((Claimed::OtherBrowser { product }, _)) => {
            Ok(pages.ended(&visitor, Some(&product), None, End::OtherBrowser))
        }
        Ok((Claimed::Ended { state, product }, _)) => {
            Ok(pages.ended(&visitor, Some(&product), None, end_of(state, None)))
        }
        Err(e) => Err(e.into()),
    };
    finish(&pages, &visitor, answer)
}

fn end_of(state: ChallengeState, paused_s: Option<u64>) -> End {
    match state {
        ChallengeState::Locked => End::Locked(paused_s),
        ChallengeState::Cancelled => End::Cancelled,
        ChallengeState::Denied => End::Denied,
        ChallengeState::Expired | ChallengeState::Created | ChallengeState::Open => End::Expired,
        ChallengeState::Verified | ChallengeState::Redeemed | ChallengeState::Lapsed => End::Used,
    }
}

/// Returns the page of an ended challenge.
pub(super) fn ended_page(pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot) -> Response {
    let paused_s = snapshot.account.pause(snapshot.now).map(|until| seconds_until(snapshot.now, until));
    let locale = snapshot.challenge.locale.as_deref();
    pages.ended(visitor, Some(&snapshot.account.product), locale, end_of(snapshot.challenge.state, paused_s))
}

/// Returns the page of a paused account, which accepts no code.
fn paused(pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot, seconds: u64) -> Response {
    let view = Ended {
        page: page(pages, visitor, snapshot),
        end: End::Paused(seconds),
        retry: Some(format!("/challenge/{}", snapshot.challenge.id)),
    };
    let mut response = pages.render(visitor, &snapshot.account.product, StatusCode::TOO_MANY_REQUESTS, &view);
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

pub(super) fn requester(visitor: &Visitor) -> Requester {
    Requester::Browser(visitor.visit.clone())
}

pub(super) fn shown_purpose(purpose: Purpose) -> Shown {
    match purpose {
        Purpose::SignIn => Shown::SignIn,
        Purpose::NewDevice => Shown::NewDevice,
        Purpose::Confirm | Purpose::Settings | Purpose::Enrol => Shown::Confirm,
    }
}

/// `GET /challenge/{id}`: the page with the code field.
pub(super) async fn show(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let snapshot = pages.core.challenge_snapshot(id, &requester(&visitor)).await?;
        if snapshot.challenge.purpose == Purpose::Enrol {
            return Err(PageError::NoPage);
        }
        // The question about the lost phone stays until it is answered. The new recovery code was shown once.
        let view = lost_phone(&pages, &visitor, &snapshot, None);
        if snapshot.challenge.awaits_answer(snapshot.now) && !view.phones.is_empty() {
            return Ok(pages.render(&visitor, &snapshot.account.product, StatusCode::OK, &view));
        }
        if snapshot.challenge.state == ChallengeState::Verified {
            // A phone may have closed the page while its user was in the app. The browser is still recognised.
            let approved = pages.core.continue_approved(id, &visitor.visit, false).await?;
            if let Some(Entered::Verified { location: Some(location), cookie, .. }) = approved {
                return Ok(pages.go(&visitor, &location, cookie.as_deref()));
            }
            if let Some(location) = pages.core.continue_sign_in(id, &requester(&visitor)).await? {
                return Ok(pages.go(&visitor, &location, None));
            }
        }
        if !snapshot.challenge.state.is_live() {
            return Ok(ended_page(&pages, &visitor, &snapshot));
        }
        if let Some(until) = snapshot.account.pause(snapshot.now) {
            return Ok(paused(&pages, &visitor, &snapshot, seconds_until(snapshot.now, until)));
        }
        let method = snapshot.method();
        // Denials of another sign-in paused the app.
        if method.is_some_and(|m| m.kind == Kind::App && !m.is_active()) {
            return Ok(pages.go(&visitor, &format!("/challenge/{id}/ways"), None));
        }
        if method.is_some_and(|m| m.kind == Kind::App) {
            return super::ask_app::show(&pages, &visitor, &snapshot, query.as_deref()).await;
        }
        let email = pages.core.config().email.second_step;
        if method.is_none() && snapshot.methods.iter().any(|m| snapshot.may_prove(m, email)) {
            return Ok(pages.go(&visitor, &format!("/challenge/{id}/ways"), None));
        }
        let delivery = delivery(&pages, &snapshot).await?;
        let error = read_error(query.as_deref(), &snapshot, &pages);
        let view = EnterCode {
            page: page(&pages, &visitor, &snapshot),
            challenge: id.to_string(),
            purpose: shown_purpose(snapshot.challenge.purpose),
            method: method.map(|m| m.id.to_string()).unwrap_or_default(),
            // Without an active method, a code from support can still be typed.
            proof: if method.is_some() { view_values::proof(&snapshot) } else { Proof::Recovery },
            hint: method.map(view_values::hint).unwrap_or_default(),
            delivery,
            error,
            trust: view_values::trust(snapshot.challenge.purpose, &pages.core.config()),
            trust_ticked: query.as_deref().is_some_and(|q| q.contains("trust=yes")),
            sends: view_values::sends(&snapshot, &pages.core.config()),
            other_ways: method.is_some() && snapshot.methods.iter().filter(|m| m.is_active()).count() > 1,
        };
        Ok(pages.render(&visitor, &snapshot.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

pub(super) fn page(pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot) -> Page {
    pages.page(
        visitor,
        &snapshot.account.product,
        snapshot.challenge.locale.as_deref(),
        snapshot.challenge.id,
    )
}

/// Returns the error of the last form, which is in the URL. Its details come from the rows.
pub(super) fn read_error(
    query: Option<&str>, snapshot: &ChallengeSnapshot, pages: &Pages,
) -> Option<EntryError> {
    let left = pages.core.config().limits.wrong_per_challenge.saturating_sub(snapshot.challenge.wrong);
    if let Some(until) = snapshot.account.pause(snapshot.now) {
        return Some(EntryError::Paused { seconds: seconds_until(snapshot.now, until) });
    }
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let word = pairs.iter().find(|(k, _)| k == "error").map(|(_, v)| v.as_str())?;
    let clock = |text: &str| text.parse::<u32>().ok().filter(|m| (1..=5).contains(m));
    match word.split_once('-') {
        None if word == "wrong" && snapshot.challenge.wrong > 0 => Some(EntryError::Wrong { left }),
        None if word == "digits" && view_values::proof(snapshot) == Proof::Recovery => {
            Some(EntryError::NotRecoveryCode)
        }
        None if word == "digits" => Some(EntryError::NotSixDigits),
        None if word == "recovery" => Some(EntryError::NotRecoveryCode),
        None if word == "expired" => Some(EntryError::Expired),
        Some(("behind", minutes)) => Some(EntryError::ClockBehind { minutes: clock(minutes)?, left }),
        Some(("ahead", minutes)) => Some(EntryError::ClockAhead { minutes: clock(minutes)?, left }),
        _ => None,
    }
}

/// Returns the error for the URL.
pub(super) fn error_word(entered: &Entered, recovery: bool) -> Option<String> {
    match entered {
        Entered::Wrong { clock_behind_s: Some(s), .. } if *s != 0 => {
            let word = if *s > 0 { "behind" } else { "ahead" };
            Some(format!("{word}-{}", s.unsigned_abs().div_ceil(60).min(5)))
        }
        Entered::Wrong { expired: true, .. } => Some("expired".to_owned()),
        Entered::Wrong { .. } => Some("wrong".to_owned()),
        Entered::Unreadable if recovery => Some("recovery".to_owned()),
        Entered::Unreadable => Some("digits".to_owned()),
        Entered::Verified { .. } | Entered::Paused { .. } | Entered::Ended { .. } => None,
    }
}

/// The page after a sign-in with a recovery code or a code from support.
fn lost_phone(
    pages: &Pages, visitor: &Visitor, snapshot: &ChallengeSnapshot, new_code: Option<String>,
) -> LostPhone {
    let email = pages.core.config().email.second_step;
    let phones = snapshot.methods.iter().filter(|m| m.is_active() && m.kind == Kind::Phone);
    let phones = phones.filter(|p| signs_in_without(&snapshot.methods, p.id, email));
    LostPhone {
        page: Page { shown_once: new_code.is_some(), ..page(pages, visitor, snapshot) },
        challenge: snapshot.challenge.id.to_string(),
        phones: phones.map(|p| (p.id.to_string(), p.hint.clone())).collect(),
        new_code,
    }
}

/// `POST /challenge/{id}`: checks a code.
pub(super) async fn enter(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let form = Form::read(&pages, &visitor, &headers, body, id).await?;
        entered(&pages, &visitor, id, &form).await
    };
    finish(&pages, &visitor, answer.await)
}

/// Checks the code of a form.
pub(super) async fn entered(
    pages: &Pages, visitor: &Visitor, id: Uuid, form: &Form,
) -> Result<Response, PageError> {
    let entry = Entry {
        text: form.text("code").to_owned(),
        method: form.id("method"),
        trust: form.is_ticked("trust"),
        device_token: None,
    };
    let entered = pages.core.enter(id, &requester(visitor), &entry).await?;
    let typed = Typed::read(&entry.text);
    let recovery = matches!(typed, Typed::Recovery(_));
    let lost = recovery || matches!(typed, Typed::Support(_));
    match entered {
        Entered::Verified { new_recovery_code, cookie, .. } if lost => {
            let snapshot = pages.core.challenge_snapshot(id, &requester(visitor)).await?;
            let view = lost_phone(pages, visitor, &snapshot, new_recovery_code.map(|code| code.to_string()));
            if view.phones.is_empty() && view.new_code.is_none() {
                let to = pages.core.location(&snapshot.challenge);
                let to = to.unwrap_or_else(|| format!("/challenge/{id}"));
                return Ok(pages.go(visitor, &to, cookie.as_deref()));
            }
            let mut response = pages.render(visitor, &snapshot.account.product, StatusCode::OK, &view);
            if let Some(value) = cookie.and_then(|c| visitor.device_cookie(&c).parse().ok()) {
                response.headers_mut().append(header::SET_COOKIE, value);
            }
            Ok(response)
        }
        Entered::Verified { location, cookie, .. } => {
            let to = location.unwrap_or_else(|| format!("/challenge/{id}"));
            Ok(pages.go(visitor, &to, cookie.as_deref()))
        }
        entered => {
            let word = error_word(&entered, recovery);
            let trust = if entry.trust { "&trust=yes" } else { "" };
            let query = word.map_or_else(String::new, |w| format!("?error={w}{trust}"));
            Ok(pages.go(visitor, &format!("/challenge/{id}{query}"), None))
        }
    }
}

/// `POST /challenge/{id}/send`: sends again, or by another channel.
pub(super) async fn send(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let form = Form::read(&pages, &visitor, &headers, body, id).await?;
        let channel = form.text("channel").parse::<Channel>().ok();
        // The page shows the reason and the time.
        let _ = pages.core.send(id, &requester(&visitor), form.id("method"), channel).await?;
        Ok(pages.go(&visitor, &format!("/challenge/{id}"), None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /challenge/{id}/cancel`: cancels the challenge.
pub(super) async fn cancel(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        Form::read(&pages, &visitor, &headers, body, id).await?;
        let location = pages.core.cancel(id, &requester(&visitor)).await?;
        Ok(pages.go(&visitor, &location.unwrap_or_else(|| format!("/challenge/{id}")), None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /challenge/{id}/lost`: after a recovery code, removes or keeps the lost phone, and continues.
pub(super) async fn lost(
    State(pages): State<Arc<Pages>>, Path(id): Path<Uuid>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let form = Form::read(&pages, &visitor, &headers, body, id).await?;
        if form.text("answer") == "remove" {
            let phone = form.id("phone").ok_or(FlowError::Missing("method"))?;
            pages.core.remove_lost_phone(id, &requester(&visitor), phone).await?;
        }
        let location = pages.core.continue_sign_in(id, &requester(&visitor)).await?;
        Ok(pages.go(&visitor, &location.unwrap_or_else(|| format!("/challenge/{id}")), None))
    };
    finish(&pages, &visitor, answer.await)
}
