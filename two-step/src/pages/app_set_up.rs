//! `/settings/app`: sets up the product's app.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use super::Pages;
use super::ask_app::app_name;
use super::set_up::{enrolment_error, page, place_of_new, posted, proven, requester};
use super::sign_in::{error_word, finish};
use super::view::set_up::AddApp;
use super::visitor::Visitor;
use crate::clock::seconds_until;
use crate::flow::{Change, Entered, Entry, FlowError};

/// `GET /settings/app`: shows the pending set-up, or starts one.
pub(super) async fn ask_app(
    State(pages): State<Arc<Pages>>, RawQuery(query): RawQuery, visitor: Visitor,
) -> Response {
    let answer = async {
        let guest = proven(&pages, &visitor).await?;
        let Ok(new) = pages.core.add_app(&visitor.visit).await? else {
            return Ok(pages.go(&visitor, "/settings?done=apps", None));
        };
        let snapshot = pages.core.challenge_snapshot(new.challenge, &requester(&visitor)).await?;
        let product = &guest.account.product;
        let url = format!("{}/app?product={product}", pages.core.config().public_url.as_str());
        let code = QrCode::with_error_correction_level(url.as_bytes(), EcLevel::M)
            .map_err(|_| FlowError::Internal("the app's address does not fit into a QR code"))?;
        let view = AddApp {
            page: page(&pages, &visitor, &guest),
            place: place_of_new(&guest),
            method: new.method.to_string(),
            app: app_name(&pages, product).unwrap_or_default(),
            qr_svg: code.render::<svg::Color<'_>>().min_dimensions(160, 160).quiet_zone(true).build(),
            url,
            code: new.code.as_ref().map(|code| code.spelled().to_string()),
            seconds: seconds_until(new.now, new.until),
            error: enrolment_error(query.as_deref(), &snapshot, &pages),
        };
        Ok(pages.render(&visitor, product, StatusCode::OK, &view))
    };
    finish(&pages, &visitor, answer.await)
}

/// `POST /settings/app`: takes the digits that the app shows, or creates another set-up code.
pub(super) async fn enter_app(
    State(pages): State<Arc<Pages>>, headers: HeaderMap, visitor: Visitor, body: Body,
) -> Response {
    let answer = async {
        let (_, form) = posted(&pages, &visitor, &headers, body).await?;
        if form.is_ticked("new") {
            if let Ok(new) = pages.core.add_app(&visitor.visit).await? {
                let _ = pages.core.change(&visitor.visit, new.method, &Change::Remove).await?;
            }
            return Ok(pages.go(&visitor, "/settings/app", None));
        }
        let method = form.id("method").ok_or(FlowError::Missing("method"))?;
        let challenge = pages.core.enrolment(&visitor.visit, method).await?;
        let entry = Entry { text: form.text("code").to_owned(), ..Entry::default() };
        let to = match pages.core.enter(challenge, &requester(&visitor), &entry).await? {
            Entered::Verified { .. } => "/settings?done=app".to_owned(),
            entered => match error_word(&entered, false) {
                Some(word) => format!("/settings/app?error={word}"),
                None => "/settings/app".to_owned(),
            },
        };
        Ok(pages.go(&visitor, &to, None))
    };
    finish(&pages, &visitor, answer.await)
}
