//! The stop page of a notice. It stops a change that the user did not make.

use askama::Template;

use super::settings::Change;
use super::{Page, when};

/// `/stop/{token}`: the event, and the button that stops it. Opening the page changes nothing.
///
/// Form: POST `/stop/{token}`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "stop/ask.html")]
pub struct Stop {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The token, for the path.
    pub token: String,
    /// The event.
    pub change: Change,
    /// The method or device, as a text; may be empty.
    pub detail: String,
    /// The time, in Unix seconds.
    pub at: i64,
}

impl Stop {
    /// The effects of the button. Only an added method is paused.
    fn effects(&self) -> &'static [&'static str] {
        let effects = &self.page.t().stop.effects;
        if matches!(self.change, Change::MethodAdded | Change::MethodResumed) {
            effects
        } else {
            &effects[1..]
        }
    }

    fn sentence(&self) -> &'static str {
        self.change.text(self.page.lang)
    }

    fn shown_time(&self) -> String {
        when::date_time(self.page.lang, self.at)
    }

    fn machine_time(&self) -> String {
        when::machine(self.at)
    }

    fn account_line(&self) -> String {
        (self.page.t().stop.account)(&self.page.product)
    }
}

/// The result of stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopResult {
    /// Everything was stopped now.
    Stopped,
    /// It was already stopped.
    StoppedBefore,
    /// The link is older than seven days, or unknown.
    TooLate,
}

/// The page after POST `/stop/{token}`, and the page of an invalid link. It has no form.
#[derive(Debug, Clone, Template)]
#[template(path = "stop/result.html")]
pub struct Stopped {
    /// Language, product, home link.
    pub page: Page,
    /// The result.
    pub result: StopResult,
}

impl Stopped {
    /// The title, and the result.
    fn words(&self) -> (&'static str, &'static str) {
        let texts = &self.page.t().stop;
        match self.result {
            StopResult::Stopped => texts.stopped,
            StopResult::StoppedBefore => texts.stopped_before,
            StopResult::TooLate => texts.too_late,
        }
    }

    fn is_stopped(&self) -> bool {
        self.result != StopResult::TooLate
    }

    fn steps(&self) -> [String; 3] {
        let texts = &self.page.t().stop;
        let product = &self.page.product;
        let password = if product.is_empty() {
            texts.step_any_password.to_owned()
        } else {
            (texts.step_password)(product)
        };
        [password, texts.step_methods.to_owned(), texts.step_support.to_owned()]
    }
}
