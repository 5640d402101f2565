//! The pages that offer a first method and a backup.

use askama::Template;

use super::super::Page;
use super::{Place, ReadyMethod};

/// `/settings` of an account that is not set up: offers the first method.
///
/// Links: `/settings/authenticator`, `/settings/phone`, `/settings/email`. Form: POST `/settings/leave`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/choose.html")]
pub struct ChooseMethod {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// Whether two-step verification was just turned off.
    pub just_off: bool,
    /// The name of the product's app; `None` if it has none.
    pub app: Option<String>,
    /// Whether e-mail is offered as a second step.
    pub email: bool,
}

/// The description of the app: "The Shop app on your phone asks you."
fn app_detail(page: &Page, app: &str) -> String {
    (page.t().choose.app)(app)
}

impl ChooseMethod {
    fn app_detail(&self, app: &str) -> String {
        app_detail(&self.page, app)
    }

    /// One method is recommended: the product's own app if there is one.
    fn authenticator_tag(&self) -> &'static str {
        if self.app.is_some() { "" } else { self.page.t().choose.recommended }
    }

    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }
}

/// `/settings` of an account with one method: offers a backup.
///
/// Links as in [`ChooseMethod`]. Forms: POST `/settings/recovery-codes`: `csrf`; POST `/settings/leave`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/backup.html")]
pub struct Backup {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The active method.
    pub ready: ReadyMethod,
    /// The name of the product's app; `None` if it has none.
    pub app: Option<String>,
    /// Whether e-mail is offered as a second step.
    pub email: bool,
}

impl Backup {
    fn app_detail(&self, app: &str) -> String {
        app_detail(&self.page, app)
    }

    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn ready_text(&self) -> String {
        self.ready.kind.describe(self.page.lang, &self.ready.hint)
    }
}
