//! The page that asks the product's app.

use askama::Template;

use super::super::{Page, when};
use super::{EntryError, Purpose, Tone, Trust};

/// Whether the app was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asking {
    /// It is asked now. The digits that the user types into it.
    Waiting(String),
    /// A newer request took the place of this one.
    Replaced,
    /// No request is open: the account was paused when the page was opened, or the request was answered by a code.
    Idle,
    /// A limit is full for so many seconds.
    Limited(u64),
}

/// `/challenge/{id}` where the app is asked.
///
/// Forms:
/// - POST `/challenge/{id}/app`: `csrf`, `trust` (`yes`, or missing): the user has confirmed it in the app;
/// - POST `/challenge/{id}`: `csrf`, `method`, `code`, `trust`: the code that the app shows;
/// - POST `/challenge/{id}/send`: `csrf`, `method`: asks again;
/// - POST `/challenge/{id}/cancel`: `csrf`.
///
/// Link: `/challenge/{id}/ways`. The script polls `/challenge/{id}/status`, and sends the first form when it is done.
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in/ask_app.html")]
pub struct AskApp {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The challenge's id, for the paths.
    pub challenge: String,
    /// What the challenge is for.
    pub purpose: Purpose,
    /// The id of the method shown.
    pub method: String,
    /// What the app is called.
    pub app: String,
    /// What the user calls the phone; may be empty.
    pub device: String,
    /// Whether it was asked.
    pub asking: Asking,
    /// Why the last code was not accepted.
    pub error: Option<EntryError>,
    /// The box "Trust this device".
    pub trust: Trust,
    /// Whether the box stays ticked.
    pub trust_ticked: bool,
    /// Whether "Use another way" is offered.
    pub other_ways: bool,
}

impl Asking {
    /// The sentence for the page and for the field `delivery` of the status answer.
    pub(crate) fn text(&self, page: &Page) -> String {
        let texts = &page.t().ask_app;
        match self {
            Self::Waiting(_) => texts.waiting.to_owned(),
            Self::Replaced => texts.replaced.to_owned(),
            Self::Idle => texts.none.to_owned(),
            Self::Limited(seconds) => (texts.limited)(&when::wait(page.lang, *seconds)),
        }
    }

    /// How serious it is.
    pub(crate) fn tone(&self) -> Tone {
        if matches!(self, Self::Waiting(_)) { Tone::Busy } else { Tone::Warning }
    }
}

impl AskApp {
    fn lead(&self) -> String {
        let texts = &self.page.t().ask_app;
        match self.asking {
            Asking::Waiting(_) => (texts.lead)(&self.app, &self.device),
            _ => (texts.not_asked)(&self.app),
        }
    }

    /// Digits in groups of three, as people read them out.
    fn digits(&self) -> Option<String> {
        let Asking::Waiting(digits) = &self.asking else { return None };
        let half = digits.len().div_ceil(2);
        Some(if digits.len() > 4 {
            format!("{} {}", &digits[..half], &digits[half..])
        } else {
            digits.clone()
        })
    }

    /// Whether the app can be asked: else it shows no code either.
    fn may_ask(&self) -> bool {
        !matches!(self.asking, Asking::Limited(_))
    }

    fn here(&self) -> String {
        format!("/challenge/{}", self.challenge)
    }

    fn poll(&self) -> String {
        if matches!(self.asking, Asking::Waiting(_)) {
            format!("/challenge/{}/status", self.challenge)
        } else {
            String::new()
        }
    }

    fn error_text(&self) -> Option<String> {
        self.error.map(|error| error.text(self.page.lang))
    }

    fn trust_label(&self) -> Option<String> {
        self.trust.label(self.page.lang)
    }

    fn cancel_label(&self) -> &'static str {
        match self.purpose {
            Purpose::SignIn | Purpose::NewDevice => self.page.t().sign_in.cancel,
            Purpose::Confirm => self.page.t().common.cancel,
        }
    }
}
