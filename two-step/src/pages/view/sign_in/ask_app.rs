//! The page of a request to the product's app.

use askama::Template;

use super::super::{Page, when};
use super::{EntryError, Purpose, Tone, Trust};

/// The state of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asking {
    /// The request is open. The digits that the user types into the app.
    Waiting(String),
    /// A newer request replaced this one.
    Replaced,
    /// No request is open: the account was paused when the page was opened, or the request was answered by a code.
    Idle,
    /// A limit is reached, for this many seconds.
    Limited(u64),
}

/// `/challenge/{id}` if the method is the product's app.
///
/// Forms:
/// - POST `/challenge/{id}/app`: `csrf`, `trust` (`yes`, or missing): the user has approved the request in the app;
/// - POST `/challenge/{id}`: `csrf`, `method`, `code`, `trust`: the code that the app shows;
/// - POST `/challenge/{id}/send`: `csrf`, `method`: sends the request again;
/// - POST `/challenge/{id}/cancel`: `csrf`.
///
/// Link: `/challenge/{id}/ways`. The script polls `/challenge/{id}/status`, and submits the first form after an answer.
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in/ask_app.html")]
pub struct AskApp {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The challenge's id, for the paths.
    pub challenge: String,
    /// The purpose of the challenge.
    pub purpose: Purpose,
    /// The id of the shown method.
    pub method: String,
    /// The app's name.
    pub app: String,
    /// The user's name for the phone; may be empty.
    pub device: String,
    /// The state of the request.
    pub asking: Asking,
    /// Why the last code was refused.
    pub error: Option<EntryError>,
    /// The checkbox "Trust this device".
    pub trust: Trust,
    /// Whether the checkbox is ticked.
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

    /// The severity.
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

    /// Formats digits in groups of three, which are easy to read.
    fn digits(&self) -> Option<String> {
        let Asking::Waiting(digits) = &self.asking else { return None };
        let half = digits.len().div_ceil(2);
        Some(if digits.len() > 4 {
            format!("{} {}", &digits[..half], &digits[half..])
        } else {
            digits.clone()
        })
    }

    /// Whether the app has an open request. Only then it shows a code.
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
