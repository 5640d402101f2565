//! The page of a new authenticator app.

use askama::Template;

use super::super::Page;
use super::super::sign_in::EntryError;
use super::{Place, grouped};

/// `/settings/authenticator`: the QR code, the key, the field for the first code.
///
/// Form: POST `/settings/authenticator`: `csrf`, `method`, `code`. Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/authenticator.html")]
pub struct AddAuthenticator {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The pending method's id.
    pub method: String,
    /// The QR code: a whole `<svg>` element of ours, inserted without escaping. An XML declaration before it is
    /// removed.
    pub qr_svg: String,
    /// The key in Base32, for typing.
    pub key: String,
    /// The `otpauth://` URI, for the app on the same device.
    pub uri: String,
    /// The account's name in the app.
    pub account: String,
    /// Why the entry was refused.
    pub error: Option<EntryError>,
}

impl AddAuthenticator {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn svg(&self) -> &str {
        self.qr_svg.find("<svg").map_or("", |start| &self.qr_svg[start..])
    }

    fn qr_words(&self) -> String {
        (self.page.t().authenticator.qr)(&self.page.product)
    }

    fn key_groups(&self) -> String {
        grouped(&self.key, ' ')
    }

    fn error_text(&self) -> Option<String> {
        self.error.map(|error| error.text(self.page.lang))
    }
}
