//! The set-up wizard. The settings use the same pages to add a method.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::answer::PageError;
use super::delivery::{delivery, status_of};
use super::form::Form;
use super::settings::kept_phone;
use super::sign_in::{error_word, finish, read_error};
use super::view::set_up::{
    AddPhone, Country, NewRecoveryCodes, PhoneCode, PhoneError, Place, ReadyMethod, RecoveryCodes, SetUpDone,
    TurnOn,
};
use super::view::sign_in::EntryError;
use super::view::{self, Page};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::challenge::ChallengeState;
use crate::challenge::SendRefused;
use crate::clock::seconds_until;
use crate::flow::{
    AddRefused, ChallengeSnapshot, Entered, Entry, FlowError, Requester, TurnOnRefused, Visitor as Guest,
};
use crate::method::{Channel, Kind, Method, MethodState, may_be_on};
use crate::number::{BadNumber, Number};

/// Steps of the wizard: method, code, backup, on.
const STEPS: u32 = 4;

/// Returns the step of the page of a new method: step 2 for the first method, step 3 for a backup.
pub(super) fn place_of_new(guest: &Guest) -> Place {
    let has_one = guest.methods.iter().any(|m| m.is_proved_in(guest.session.id) && m.kind != Kind::Recovery);
    place(guest, if has_one { 3 } else { 2 })
}

/// Returns the step of a page for a visitor.
pub(super) fn place(guest: &Guest, step: u32) -> Place {
    if guest.account.is_on() { Place::Settings } else { Place::Wizard { step, of: STEPS } }
}

/// Creates the common part of a session's pages.
pub(super) fn page(pages: &Pages, visitor: &Visitor, guest: &Guest) -> Page {
    let locale = guest.session.locale.as_deref();
    let account = guest.session.display_name.clone();
    Page { account, ..pages.page(visitor, &guest.account.product, locale, guest.session.id) }
}

/// Returns the visitor if a required fresh proof was given, or else the page that requests it.
pub(super) async fn proven(pages: &Pages, visitor: &Visitor) -> Result<Guest, PageError> {
    let guest = pages.core.visitor(&visitor.visit).await?;
    if guest.needs_proof { Err(FlowError::ProofMissing.into()) } else { Ok(guest) }
}

/// Returns the form of a visitor whose required fresh proof was given.
pub(super) async fn posted(
    pages: &Pages, visitor: &Visitor, headers: &HeaderMap, body: Body,
) -> Result<(Guest, Form), PageError> {
    let guest = proven(pages, visitor).await?;
    let form = Form::read(pages, visitor, headers, body, guest.session.id).await?;
    Ok((guest, form))
}

pub(super) fn requester(visitor: &Visitor) -> Requester {
    Requester::Browser(visitor.visit.clone())
}

/// `GET /settings/phone`
pub(super) async fn ask_phone(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        Ok(phone_form(&pages, &visitor, &guest, None, "", None))
    };
    finish(&pages, &visitor, answer.await)
}

fn phone_form(
    pages: &Pages, visitor: &Visitor, guest: &Guest, country: Option<&str>, number: &str,
    error: Option<PhoneError>,
) -> Response {
    let config = &pages.core.config();
    let codes = config.product(&guest.account.product).map(|p| p.countries.clone()).unwrap_or_default();
    let calling = |code: &str| {
        let region = code.parse().ok()?;
        rlibphonenumber::PHONE_NUMBER_UTIL
            .get_country_code_for_region(region)
            .and_then(|n| u16::try_from(n).ok())
    };
    let countries: Vec<Country> = codes
        .iter()
        .filter_map(|code| Some(Country { code: code.clone(), calling_code: calling(code)? }))
        .collect();
    let chosen = country.filter(|c| codes.iter().any(|code| code == c)).or(codes.first().map(String::as_str));
    let view = AddPhone {
        page: page(pages, visitor, guest),
        place: place_of_new(guest),
        country: chosen.unwrap_or_default().to_owned(),
        countries,
        number: number.to_owned(),
        sms: true,
        voice: config.otpost.calls,
        error,
    };
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    pages.render(visitor, &guest.account.product, status, &view)
}

/// `POST /settings/phone`
pub(super) async fn add_phone(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (guest, form) = posted(&pages, &visitor, &headers, body).await?;
        let channel = form.text("channel").parse().unwrap_or(Channel::Sms);
        let (number, country) = (form.text("number"), form.text("country"));
        let wrong = |error| Ok(phone_form(&pages, &visitor, &guest, Some(country), number, Some(error)));
        if number.trim().is_empty() {
            return wrong(PhoneError::Missing);
        }
        match pages.core.add_phone(&visitor.visit, number, country, channel).await? {
            Ok(challenge) => {
                let snapshot = pages.core.challenge_snapshot(challenge, &requester(&visitor)).await?;
                let method = snapshot.challenge.method.unwrap_or_default();
                Ok(pages.go(&visitor, &format!("/settings/phone/{method}"), None))
            }
            Err(refused) => wrong(match refused {
                AddRefused::Number(BadNumber::Country) => PhoneError::Country,
                AddRefused::Number(BadNumber::Costly) => PhoneError::Kind,
                AddRefused::Number(_) | AddRefused::Address => PhoneError::Invalid,
                AddRefused::Known => PhoneError::Known,
                AddRefused::Shared | AddRefused::TooMany => PhoneError::TooManyAccounts,
                AddRefused::Send { refused: SendRefused::Limited { until }, now, .. } => {
                    PhoneError::Limited(seconds_until(now, until))
                }
                AddRefused::Send { .. } => PhoneError::Refused,
            }),
        }
    };
    finish(&pages, &visitor, answer.await)
}

/// Returns the enrolment of a method, or `None` if the method is active.
pub(super) async fn enrolment(
    pages: &Pages, visitor: &Visitor, method: Uuid,
) -> Result<ChallengeSnapshot, PageError> {
    let challenge = pages.core.enrolment(&visitor.visit, method).await?;
    Ok(pages.core.challenge_snapshot(challenge, &requester(visitor)).await?)
}

/// Returns the error for the page of a first code. Names the end of an enrolment.
pub(super) fn enrolment_error(
    query: Option<&str>, snapshot: &ChallengeSnapshot, pages: &Pages,
) -> Option<EntryError> {
    if snapshot.challenge.state.is_live() {
        read_error(query, snapshot, pages)
    } else {
        Some(EntryError::Expired)
    }
}

/// `GET /settings/phone/{method}`
pub(super) async fn phone_code(
    State(pages): State<Arc<Pages>>, Path(method): Path<Uuid>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let snapshot = enrolment(&pages, &visitor, method).await?;
        let phone = snapshot.method().ok_or(FlowError::Missing("method"))?;
        // The user went back in the browser after the right code.
        if phone.is_active() && snapshot.challenge.state == ChallengeState::Verified {
            return Ok(pages.go(&visitor, "/settings", None));
        }
        let typed_here = phone.state == MethodState::Pending;
        let number = if typed_here {
            let target = pages.core.target(phone)?;
            Number::from_kept(&target)
                .map_or_else(|_| phone.hint.clone(), |n| n.expose_international().to_owned())
        } else {
            // Numbers of earlier visits stay hidden, because the visitor may only know the password.
            format!("••• {}", phone.hint)
        };
        let voice = snapshot.challenge.channel == Some(Channel::Voice);
        let view = PhoneCode {
            page: page(&pages, &visitor, &guest),
            place: place_of_new(&guest),
            method: method.to_string(),
            number,
            may_change: typed_here,
            channel: if voice { view::Channel::Voice } else { view::Channel::Sms },
            delivery: delivery(&pages, &snapshot).await?,
            error: enrolment_error(query.as_deref(), &snapshot, &pages),
            sends: view_values::sends(&snapshot, &pages.core.config()),
        };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/phone/{method}/status`
pub(super) async fn phone_status(
    State(pages): State<Arc<Pages>>, Path(method): Path<Uuid>, visitor: Visitor,
) -> Response {
    enrolment_status(&pages, &visitor, method).await
}

/// Returns the state of a first code for the page's script.
pub(super) async fn enrolment_status(pages: &Pages, visitor: &Visitor, method: Uuid) -> Response {
    let answer = async {
        let snapshot = enrolment(pages, visitor, method).await?;
        Ok::<_, PageError>(status_of(pages, visitor, &snapshot).await?)
    };
    answer.await.unwrap_or_else(|_| StatusCode::NOT_FOUND.into_response())
}

/// `POST /settings/phone/{method}`
pub(super) async fn enter_phone_code(
    State(pages): State<Arc<Pages>>, Path(method): Path<Uuid>, headers: HeaderMap, visitor: Visitor,
    body: Body,
) -> Response {
    let answer = async {
        let (_, form) = posted(&pages, &visitor, &headers, body).await?;
        let challenge = pages.core.enrolment(&visitor.visit, method).await?;
        let entry = Entry { text: form.text("code").to_owned(), ..Entry::default() };
        let to = match pages.core.enter(challenge, &requester(&visitor), &entry).await? {
            Entered::Verified { .. } => "/settings?done=added".to_owned(),
            entered => match error_word(&entered, false) {
                Some(word) => format!("/settings/phone/{method}?error={word}"),
                None => format!("/settings/phone/{method}"),
            },
        };
        Ok(pages.go(&visitor, &to, None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/phone/{method}/again`
pub(super) async fn phone_again(
    State(pages): State<Arc<Pages>>, Path(method): Path<Uuid>, headers: HeaderMap, visitor: Visitor,
    body: Body,
) -> Response {
    let answer = async {
        let (_, form) = posted(&pages, &visitor, &headers, body).await?;
        let channel = form.text("channel").parse().ok();
        // The page of the code shows the reason and the time.
        let _ = pages.core.resend_first_code(&visitor.visit, method, channel).await?;
        Ok(pages.go(&visitor, &format!("/settings/phone/{method}"), None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/recovery-codes`
pub(super) async fn recovery_codes(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let set = guest.methods.iter().find(|m| m.kind == Kind::Recovery && m.is_active());
        let left = match set {
            Some(_) => u32::try_from(pages.core.recovery_codes_left(guest.account.id).await?).ok(),
            None => None,
        };
        let made_at = set.map(|m| m.verified_at.unwrap_or(m.created_at).as_second());
        let view =
            RecoveryCodes { page: page(&pages, &visitor, &guest), place: place(&guest, 3), left, made_at };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/recovery-codes`: creates a set, which only this answer shows.
pub(super) async fn create_recovery_codes(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (guest, _) = posted(&pages, &visitor, &headers, body).await?;
        let codes = pages.core.create_recovery_codes(&visitor.visit).await?;
        let view = NewRecoveryCodes {
            page: Page { shown_once: true, ..page(&pages, &visitor, &guest) },
            place: place(&guest, 3),
            codes: codes.iter().map(|c| c.to_string()).collect(),
            made_at: guest.now.as_second(),
        };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/recovery-codes/saved`
pub(super) async fn recovery_codes_saved(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (_, form) = posted(&pages, &visitor, &headers, body).await?;
        if !form.is_ticked("saved") {
            // The codes are stored as hashes only, so they cannot be shown again.
            return Ok(pages.go(&visitor, "/settings/recovery-codes", None));
        }
        pages.core.recovery_codes_saved(&visitor.visit).await?;
        Ok(pages.go(&visitor, "/settings", None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/on`: the last step of the wizard, after a method and a backup.
pub(super) async fn ask_on(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        if guest.account.is_on() {
            return Ok(pages.go(&visitor, "/settings", None));
        }
        let proved = guest.methods.iter().filter(|m| m.is_active() && m.is_proved_in(guest.session.id));
        let kinds: Vec<Kind> = proved.map(|m| m.kind).collect();
        if !may_be_on(&kinds, pages.core.config().email.second_step) {
            return Ok(pages.go(&visitor, "/settings", None));
        }
        let left = pages.core.recovery_codes_left(guest.account.id).await?;
        let ready = |m: &Method| ReadyMethod {
            kind: view_values::kind(m.kind),
            hint: if m.kind == Kind::Recovery { left.to_string() } else { view_values::hint(m) },
        };
        let (proved, rest): (Vec<&Method>, Vec<&Method>) =
            guest.methods.iter().filter(|m| m.is_active()).partition(|m| m.is_proved_in(guest.session.id));
        let (phones, others): (Vec<&Method>, Vec<&Method>) =
            rest.into_iter().partition(|m| m.kind == Kind::Phone);
        let view = TurnOn {
            page: page(&pages, &visitor, &guest),
            place: place(&guest, STEPS),
            offer_codes: !proved.iter().any(|m| m.kind == Kind::Recovery),
            methods: proved.into_iter().map(ready).collect(),
            kept_phones: phones.into_iter().map(|m| kept_phone(&pages, m)).collect(),
            removed: others.into_iter().map(ready).collect(),
            trust: view_values::trust_life(&pages.core.config()),
        };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/on`
pub(super) async fn turn_on(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let guest = pages.core.visitor(&visitor.visit).await?;
        let form = Form::read(&pages, &visitor, &headers, body, guest.session.id).await?;
        match pages.core.turn_on(&visitor.visit, form.is_ticked("trust")).await? {
            Err(TurnOnRefused::BackupMissing | TurnOnRefused::ProofMissing) => {
                Ok(pages.go(&visitor, "/settings", None))
            }
            Ok(cookie) => {
                let view = SetUpDone { page: page(&pages, &visitor, &guest), trusted: cookie.is_some() };
                let mut response = pages.render(&visitor, &guest.account.product, StatusCode::OK, &view);
                if let Some(value) = cookie.and_then(|c| visitor.device_cookie(&c).parse().ok()) {
                    response.headers_mut().append(axum::http::header::SET_COOKIE, value);
                }
                Ok(response)
            }
        }
    };
    finish(&pages, &visitor, answer.await)
}
