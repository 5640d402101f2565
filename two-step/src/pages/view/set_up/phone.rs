//! The page of a new phone: country and number.

use askama::Template;

use super::super::{Page, country, when};
use super::Place;

/// A country on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166-1 alpha-2, in capitals.
    pub code: String,
    /// The calling code without `+`.
    pub calling_code: u16,
}

/// Why a number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhoneError {
    /// No number was typed.
    Missing,
    /// Not a valid number of the chosen country.
    Invalid,
    /// A number of a country that is not in `countries`.
    Country,
    /// A premium or shared-cost number, or another kind that is not allowed.
    Kind,
    /// otpost refuses the number.
    Refused,
    /// Too many accounts have this number.
    TooManyAccounts,
    /// The user already has this number.
    Known,
    /// Too many numbers or codes for now. Seconds until the next one is accepted.
    Limited(u64),
}

/// `/settings/phone`: country and number.
///
/// Form: POST `/settings/phone`: `csrf`, `country` (ISO code), `number`, `channel` (`sms` or `voice`: the button).
/// Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/phone.html")]
pub struct AddPhone {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The allowed countries.
    pub countries: Vec<Country>,
    /// The ISO code of the chosen country.
    pub country: String,
    /// The typed text; empty at first.
    pub number: String,
    /// Whether texts are offered.
    pub sms: bool,
    /// Whether calls are offered.
    pub voice: bool,
    /// Why the number is refused.
    pub error: Option<PhoneError>,
}

impl AddPhone {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    /// ISO code, name with calling code, whether it is chosen; sorted by name.
    fn options(&self) -> Vec<(&str, String, bool)> {
        let mut named: Vec<(&str, &str, u16)> = self
            .countries
            .iter()
            .map(|c| {
                (c.code.as_str(), country::name(self.page.lang, &c.code).unwrap_or(&c.code), c.calling_code)
            })
            .collect();
        named.sort_by_key(|(_, name, _)| country::sort_key(name));
        let chosen = |code: &str| code == self.country;
        named
            .into_iter()
            .map(|(code, name, calling)| (code, format!("{name} (+{calling})"), chosen(code)))
            .collect()
    }

    fn error_text(&self) -> Option<String> {
        let texts = &self.page.t().phone_error;
        Some(match self.error? {
            PhoneError::Missing => texts.missing.to_owned(),
            PhoneError::Invalid => texts.invalid.to_owned(),
            PhoneError::Country => texts.country.to_owned(),
            PhoneError::Kind => texts.kind.to_owned(),
            PhoneError::Refused => texts.refused.to_owned(),
            PhoneError::TooManyAccounts => texts.too_many_accounts.to_owned(),
            PhoneError::Known => texts.known.to_owned(),
            PhoneError::Limited(seconds) => (texts.limited)(&when::wait(self.page.lang, seconds)),
        })
    }
}
