//! Choosing a method, and choosing a backup.

use askama::Template;

use super::super::Page;
use super::{Place, ReadyMethod};

/// `/settings` of an account that is not set up: choose the first method.
///
/// Links: `/settings/authenticator`, `/settings/phone`, `/settings/email`. Form: POST `/settings/leave`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/choose.html")]
pub struct ChooseMethod {
    /// Language, product, CSRF value.
    pub page: Page,
    /// Where the page stands.
    pub place: Place,
    /// Whether authenticator apps are offered.
    pub authenticator: bool,
    /// Whether phones are offered.
    pub phone: bool,
    /// Whether e-mail is offered as a second step.
    pub email: bool,
}

impl ChooseMethod {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }
}

/// `/settings` of an account with one method: choose a backup.
///
/// Links as in [`ChooseMethod`]. Forms: POST `/settings/recovery-codes`: `csrf`; POST `/settings/leave`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/backup.html")]
pub struct Backup {
    /// Language, product, CSRF value.
    pub page: Page,
    /// Where the page stands.
    pub place: Place,
    /// The method that is ready.
    pub ready: ReadyMethod,
    /// Whether another authenticator app is offered.
    pub authenticator: bool,
    /// Whether another phone is offered.
    pub phone: bool,
    /// Whether e-mail is offered as a second step.
    pub email: bool,
}

impl Backup {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn ready_text(&self) -> String {
        self.ready.kind.describe(self.page.lang, &self.ready.hint)
    }
}
