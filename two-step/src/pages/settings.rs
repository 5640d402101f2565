//! The settings: start page, devices, turning off.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method as Verb, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::ask_app::app_name;
use super::form::Form;
use super::set_up::{page, place, posted, proven};
use super::sign_in::{finish, is_idle};
use super::view::ended::End;
use super::view::set_up::{Backup, ChooseMethod, ReadyMethod};
use super::view::settings::{
    Device, Devices, FreshProof, KeptPhone, MethodRow, Notice, OffError, OnAgain, SettingsHome, TurnOff,
};
use super::visitor::Visitor;
use super::{Pages, view_values};
use crate::app_key::MAX_APPS;
use crate::flow::{DeviceCookie, SessionClaimed, Visitor as Guest};
use crate::method::{Channel, Kind, MAX_AUTHENTICATORS, Method, first, is_primary, may_be_on};

/// `GET /s/{handle}`: claims a session for a browser.
pub(super) async fn claim(
    State(pages): State<Arc<Pages>>, Path(handle): Path<String>, verb: Verb, headers: HeaderMap,
    visitor: Visitor,
) -> Response {
    if is_idle(&verb, &headers) {
        return ([(header::CACHE_CONTROL, "no-store")], StatusCode::NO_CONTENT).into_response();
    }
    let answer = match pages.core.claim_session(&handle, &visitor.visit).await {
        Ok(SessionClaimed::Settings) => Ok(pages.go(&visitor, "/settings", None)),
        Ok(SessionClaimed::Over) => Ok(pages.ended(&visitor, None, None, End::SessionExpired)),
        Err(e) => Err(e.into()),
    };
    finish(&pages, &visitor, answer)
}

/// `GET /settings`: the start page, or the next step of the wizard.
pub(super) async fn home(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = pages.core.visitor(&visitor.visit).await?;
        let product = guest.account.product.clone();
        if guest.needs_proof {
            let expired = guest.session.proof_at.is_some();
            let view = FreshProof {
                page: page(&pages, &visitor, &guest),
                action: "/settings/proof".to_owned(),
                expired,
            };
            return Ok(pages.render(&visitor, &product, StatusCode::OK, &view));
        }
        if guest.account.is_on() {
            let view = home_view(&pages, &visitor, &guest, query.as_deref()).await?;
            return Ok(pages.render(&visitor, &product, StatusCode::OK, &view));
        }
        Ok(wizard(&pages, &visitor, &guest, query.as_deref()))
    };
    finish(&pages, &visitor, answer.await)
}

/// Returns the next step of the wizard.
fn wizard(pages: &Pages, visitor: &Visitor, guest: &Guest, query: Option<&str>) -> Response {
    let config = &pages.core.config();
    let email = config.email.second_step && config.smtp.url.is_some();
    let active: Vec<&Method> = guest.methods.iter().filter(|m| m.is_active()).collect();
    let proved: Vec<&Method> = active.iter().copied().filter(|m| m.is_proved_in(guest.session.id)).collect();
    let primary = proved.iter().find(|m| is_primary(m.kind, email));
    let kept: Vec<&Method> = active.iter().copied().filter(|m| m.kind == Kind::Phone).collect();
    let product = &guest.account.product;
    if proved.is_empty() && !kept.is_empty() {
        let phones = kept.iter().map(|m| kept_phone(pages, m));
        let view = OnAgain {
            page: page(pages, visitor, guest),
            was_on: guest.account.version > 0,
            just_off: notice(query) == Some(Notice::TurnedOff),
            phones: phones.collect(),
        };
        return pages.render(visitor, product, StatusCode::OK, &view);
    }
    let Some(primary) = primary else {
        let view = ChooseMethod {
            page: page(pages, visitor, guest),
            place: place(guest, 1),
            just_off: notice(query) == Some(Notice::TurnedOff),
            app: app_name(pages, product),
            email,
        };
        return pages.render(visitor, product, StatusCode::OK, &view);
    };
    let kinds: Vec<Kind> = proved.iter().map(|m| m.kind).collect();
    if may_be_on(&kinds, config.email.second_step) {
        return pages.go(visitor, "/settings/on", None);
    }
    let page = page(pages, visitor, guest);
    let ready = ReadyMethod { kind: view_values::kind(primary.kind), hint: view_values::hint(primary) };
    let app = app_name(pages, product);
    let view = Backup { ready, page, place: place(guest, 3), app, email };
    pages.render(visitor, product, StatusCode::OK, &view)
}

/// Returns a phone that the visitor added in an earlier visit.
pub(super) fn kept_phone(pages: &Pages, phone: &Method) -> KeptPhone {
    KeptPhone {
        method: phone.id.to_string(),
        hint: phone.hint.clone(),
        sms: !phone.no_texts,
        voice: pages.core.config().otpost.calls,
    }
}

/// Converts a method for the views.
pub(super) fn row(pages: &Pages, guest: &Guest, method: &Method) -> MethodRow {
    let second_step = pages.core.config().email.second_step;
    MethodRow {
        id: method.id.to_string(),
        kind: view_values::kind(method.kind),
        name: method.label.clone(),
        hint: method.hint.clone(),
        preferred: first(&guest.methods, second_step).is_some_and(|m| m.id == method.id),
        notices_only: method.kind == Kind::Email && !second_step,
        paused: !method.is_active(),
        added_at: method.verified_at.unwrap_or(method.created_at).as_second(),
        used_at: method.used_at.map(jiff::Timestamp::as_second),
    }
}

async fn home_view(
    pages: &Pages, visitor: &Visitor, guest: &Guest, query: Option<&str>,
) -> Result<SettingsHome, crate::flow::FlowError> {
    let config = &pages.core.config();
    let listed = guest.methods.iter().filter(|m| m.kind != Kind::Recovery && m.verified_at.is_some());
    let has_codes = guest.methods.iter().any(|m| m.kind == Kind::Recovery && m.is_active());
    let left = pages.core.recovery_codes_left(guest.account.id).await?;
    let authenticators = guest.methods.iter().filter(|m| m.kind == Kind::Totp && m.is_active()).count();
    let apps = guest.methods.iter().filter(|m| m.kind == Kind::App && m.verified_at.is_some()).count();
    Ok(SettingsHome {
        page: page(pages, visitor, guest),
        notice: notice(query).map(|n| settled(n, guest, config.email.second_step)),
        off_due_at: pages.core.off_due_at(guest.account.id).await?.map(jiff::Timestamp::as_second),
        methods: listed.map(|m| row(pages, guest, m)).collect(),
        recovery_left: u32::try_from(left).ok().filter(|_| has_codes),
        devices: device_rows(pages, visitor, guest).await?,
        add_app: app_name(pages, &guest.account.product).filter(|_| apps < MAX_APPS),
        add_authenticator: authenticators < MAX_AUTHENTICATORS,
        add_phone: true,
        add_email: config.smtp.url.is_some()
            && !guest.methods.iter().any(|m| m.kind == Kind::Email && m.is_active()),
    })
}

/// Returns the notice about the last form, from the URL.
pub(super) fn notice(query: Option<&str>) -> Option<Notice> {
    let word =
        form_urlencoded::parse(query?.as_bytes()).find(|(k, _)| k == "done").map(|(_, v)| v.into_owned())?;
    Some(match word.as_str() {
        "added" => Notice::Added,
        "app" => Notice::AppAdded,
        "authenticator" => Notice::AuthenticatorAdded,
        "removed" => Notice::Removed,
        "saved" => Notice::Saved,
        "test" => Notice::TestSent,
        "device" => Notice::DeviceRevoked,
        "devices" => Notice::AllDevicesRevoked,
        "off" => Notice::TurnedOff,
        "last" => Notice::LastMethod,
        "limited" => Notice::TestLimited,
        "authenticators" => Notice::TooManyAuthenticators,
        "apps" => Notice::TooManyApps,
        _ => return None,
    })
}

/// Replaces a notice that says "asked first" if the user prefers another method.
fn settled(notice: Notice, guest: &Guest, email: bool) -> Notice {
    let kind = match notice {
        Notice::AppAdded => Kind::App,
        Notice::AuthenticatorAdded => Kind::Totp,
        _ => return notice,
    };
    let is_first = first(&guest.methods, email).is_some_and(|m| m.kind == kind);
    if is_first { notice } else { Notice::Added }
}

async fn device_rows(
    pages: &Pages, visitor: &Visitor, guest: &Guest,
) -> Result<Vec<Device>, crate::flow::FlowError> {
    let cookie = visitor.visit.device.as_deref().and_then(|text| DeviceCookie::read(&pages.core.keys, text));
    let devices = pages.core.devices(guest.account.id).await?;
    let row = |(device, trust): (crate::device::Device, crate::device::Trust)| Device {
        id: device.id.to_string(),
        label: device.label,
        is_this: cookie.as_ref().is_some_and(|c| c.id == device.id),
        used_at: trust.used_at.as_second(),
        until: trust.expires_at.map(jiff::Timestamp::as_second),
    };
    Ok(devices.into_iter().map(row).collect())
}

/// `POST /settings/proof`: starts the challenge for a fresh proof.
pub(super) async fn prove(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let guest = pages.core.visitor(&visitor.visit).await?;
        Form::read(&pages, &visitor, &headers, body, guest.session.id).await?;
        let challenge = pages.core.open_proof_challenge(&visitor.visit).await?;
        Ok(pages.go(&visitor, &format!("/challenge/{challenge}"), None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/leave`: redirects to the product.
pub(super) async fn leave(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let guest = pages.core.visitor(&visitor.visit).await?;
        Form::read(&pages, &visitor, &headers, body, guest.session.id).await?;
        let to = pages.core.leave_location(&visitor.visit).await?;
        Ok(pages.go(&visitor, &to, None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/off`
pub(super) async fn ask_off(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        Ok(off_form(&pages, &visitor, &guest, None))
    };
    finish(&pages, &visitor, answer.await)
}

fn off_form(pages: &Pages, visitor: &Visitor, guest: &Guest, error: Option<OffError>) -> Response {
    let has_phone = guest.methods.iter().any(|m| m.kind == Kind::Phone && m.verified_at.is_some());
    let email = guest.methods.iter().find(|m| m.kind == Kind::Email && m.verified_at.is_some());
    let kept_address = email.map(view_values::hint);
    let view = TurnOff { page: page(pages, visitor, guest), has_phone, kept_address, error };
    pages.render(visitor, &guest.account.product, StatusCode::OK, &view)
}

/// `POST /settings/off`
pub(super) async fn turn_off(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (guest, form) = posted(&pages, &visitor, &headers, body).await?;
        let has_phone = guest.methods.iter().any(|m| m.kind == Kind::Phone && m.verified_at.is_some());
        let keep = match form.text("phones") {
            "keep" => true,
            "erase" => false,
            _ if !has_phone => false,
            _ => return Ok(off_form(&pages, &visitor, &guest, Some(OffError::NotChosen))),
        };
        pages.core.turn_off(&visitor.visit, keep).await?;
        Ok(pages.go(&visitor, "/settings?done=off", None))
    };
    finish(&pages, &visitor, answer.await)
}

/// `GET /settings/devices`
pub(super) async fn devices(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let devices = device_rows(&pages, &visitor, &guest).await?;
        let view =
            Devices { page: page(&pages, &visitor, &guest), notice: notice(query.as_deref()), devices };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/devices`
pub(super) async fn revoke(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (_guest, form) = posted(&pages, &visitor, &headers, body).await?;
        let (device, done) =
            if form.is_ticked("all") { (None, "devices") } else { (form.id("device"), "device") };
        if device.is_some() || form.is_ticked("all") {
            pages.core.revoke_devices(&visitor.visit, device).await?;
        }
        Ok(pages.go(&visitor, &format!("/settings/devices?done={done}"), None))
    };
    finish(&pages, &visitor, answer.await)
}

/// Reads the channel of a phone.
pub(super) fn channel(method: &Method) -> super::view::Channel {
    match method.channel {
        Some(Channel::Voice) => super::view::Channel::Voice,
        _ => super::view::Channel::Sms,
    }
}
