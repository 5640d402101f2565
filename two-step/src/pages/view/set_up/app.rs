//! The page of a new app of the product.

use askama::Template;

use super::super::sign_in::EntryError;
use super::super::{Page, when};
use super::Place;

/// `/settings/app`: how to open the app, the set-up code, and the field for the six digits that the app shows.
///
/// Forms: POST `/settings/app`: `csrf`, `method`, `code`; or `csrf`, `new` (`yes`): another set-up code. Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/app.html")]
pub struct AddApp {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The pending method's id.
    pub method: String,
    /// The app's name.
    pub app: String,
    /// The URL of the app.
    pub url: String,
    /// A QR code of that URL: a whole `<svg>` element of ours, inserted without escaping.
    pub qr_svg: String,
    /// The set-up code; `None` after an app used it.
    pub code: Option<String>,
    /// Remaining life in seconds.
    pub seconds: u64,
    /// Why the digits were refused.
    pub error: Option<EntryError>,
}

impl AddApp {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn title(&self) -> String {
        (self.page.t().add_app.title)(&self.app)
    }

    fn svg(&self) -> &str {
        self.qr_svg.find("<svg").map_or("", |start| &self.qr_svg[start..])
    }

    fn qr_words(&self) -> String {
        (self.page.t().add_app.qr)(&self.app)
    }

    fn until(&self) -> String {
        (self.page.t().add_app.until)(&when::wait(self.page.lang, self.seconds))
    }

    fn error_text(&self) -> Option<String> {
        self.error.map(|error| error.text(self.page.lang))
    }
}
