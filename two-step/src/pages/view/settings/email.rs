//! The page of a new e-mail address.

use askama::Template;

use super::super::sign_in::{Delivery, EntryError, SendButton, Sends};
use super::super::{Channel, Page, when};

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailError {
    /// No address was typed.
    Missing,
    /// Not an address.
    Invalid,
    /// The user already has this address.
    Known,
    /// Too many mails for now. Seconds until the next is sent.
    Limited(u64),
}

/// `/settings/email`: the form for an address.
///
/// Form: POST `/settings/email`: `csrf`, `address`. Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/email.html")]
pub struct AddEmail {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The typed text; empty at first.
    pub address: String,
    /// Whether it becomes a second step. Otherwise it gets notices only.
    pub second_step: bool,
    /// Why the address is refused.
    pub error: Option<EmailError>,
}

impl AddEmail {
    fn error_text(&self) -> Option<String> {
        let texts = &self.page.t().email;
        Some(match self.error? {
            EmailError::Missing => texts.missing.to_owned(),
            EmailError::Invalid => texts.invalid.to_owned(),
            EmailError::Known => texts.known.to_owned(),
            EmailError::Limited(seconds) => (texts.limited)(&when::wait(self.page.lang, seconds)),
        })
    }
}

/// `/settings/email` while an address is pending.
///
/// Forms: POST `/settings/email`: `csrf`, `code`; POST `/settings/email`: `csrf`, `channel` (`email`) sends the code
/// again; POST `/settings/email`: `csrf`, `change` (`yes`) deletes the address. Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/email_code.html")]
pub struct EmailCode {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The full address, as typed.
    pub address: String,
    /// The delivery state of the code.
    pub delivery: Option<Delivery>,
    /// Why the entry was refused.
    pub error: Option<EntryError>,
    /// The button that sends the code again.
    pub sends: Sends,
}

impl EmailCode {
    fn lead(&self) -> String {
        (self.page.t().sign_in.lead_email)(&self.address)
    }

    fn status(&self) -> Option<(String, &'static str)> {
        let delivery = self.delivery?;
        Some((delivery.text(self.page.lang, Channel::Email), delivery.tone().word()))
    }

    fn error_text(&self) -> Option<String> {
        self.error.map(|error| error.text(self.page.lang))
    }

    fn buttons(&self) -> Vec<SendButton> {
        self.sends.buttons(self.page.lang, Channel::Email, self.delivery)
    }
}
