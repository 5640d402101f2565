//! The page of a new authenticator app.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use super::Pages;
use super::set_up::{enrolment_error, page, place_of_new, posted, proven, requester};
use super::sign_in::{error_word, finish};
use super::view::set_up::AddAuthenticator;
use super::visitor::Visitor;
use crate::flow::{Entered, Entry, FlowError, NewAuthenticator};

/// `GET /settings/authenticator`: shows the pending key, or creates one.
pub(super) async fn authenticator(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let new: NewAuthenticator = match pages.core.add_authenticator(&visitor.visit).await? {
            Ok(new) => new,
            Err(_) => return Ok(pages.go(&visitor, "/settings?done=authenticators", None)),
        };
        let snapshot = pages.core.challenge_snapshot(new.challenge, &requester(&visitor)).await?;
        let code = QrCode::with_error_correction_level(new.uri.as_bytes(), EcLevel::M)
            .map_err(|_| FlowError::Internal("the key does not fit into a QR code"))?;
        let qr_svg = code.render::<svg::Color<'_>>().min_dimensions(200, 200).quiet_zone(true).build();
        let view = AddAuthenticator {
            page: page(&pages, &visitor, &guest),
            place: place_of_new(&guest),
            method: new.method.to_string(),
            qr_svg,
            key: new.key.to_string(),
            uri: new.uri.to_string(),
            account: guest.session.display_name.clone().unwrap_or_else(|| guest.account.user_ref.clone()),
            error: enrolment_error(query.as_deref(), &snapshot, &pages),
        };
        Ok(pages.render(&visitor, &guest.account.product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/authenticator`
pub(super) async fn enter_authenticator(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (_, form) = posted(&pages, &visitor, &headers, body).await?;
        let method = form.id("method").ok_or(FlowError::Missing("method"))?;
        let challenge = pages.core.enrolment(&visitor.visit, method).await?;
        let entry = Entry { text: form.text("code").to_owned(), ..Entry::default() };
        let to = match pages.core.enter(challenge, &requester(&visitor), &entry).await? {
            Entered::Verified { .. } => "/settings?done=authenticator".to_owned(),
            entered => match error_word(&entered, false) {
                Some(word) => format!("/settings/authenticator?error={word}"),
                None => "/settings/authenticator".to_owned(),
            },
        };
        Ok(pages.go(&visitor, &to, None))
    };
    finish(&pages, &visitor, answer.await)
}
