//! The pages that turn two-step verification off and on again.

use askama::Template;

use super::super::Page;

/// Why two-step verification was not turned off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffError {
    /// Neither "keep" nor "erase" was chosen.
    NotChosen,
}

/// `/settings/off`: asks for confirmation before two-step verification is turned off.
///
/// Form: POST `/settings/off`: `csrf`, `phones` (`keep` or `erase`; missing without a phone). Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/off.html")]
pub struct TurnOff {
    /// Language, product, CSRF value.
    pub page: Page,
    /// Whether the account has a phone.
    pub has_phone: bool,
    /// The masked address that still gets notices; `None` without one.
    pub kept_address: Option<String>,
    /// Why it was not turned off.
    pub error: Option<OffError>,
}

impl TurnOff {
    fn lead(&self) -> String {
        (self.page.t().off.lead)(&self.page.product)
    }

    fn address_stays(&self) -> Option<String> {
        self.kept_address.as_deref().map(self.page.t().off.address_stays)
    }
}

/// A kept phone.
#[derive(Debug, Clone)]
pub struct KeptPhone {
    /// The method's id.
    pub method: String,
    /// The last two digits.
    pub hint: String,
    /// Whether texts are offered.
    pub sms: bool,
    /// Whether calls are offered.
    pub voice: bool,
}

/// `/settings` of an account that is off and has kept phones: offers to turn it on again.
///
/// Forms: POST `/settings/phone/{method}/again`: `csrf`, `channel` (`sms` or `voice`); POST `/settings/leave`: `csrf`.
/// Links: `/settings/authenticator`, `/settings/phone`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/on_again.html")]
pub struct OnAgain {
    /// Language, product, CSRF value.
    pub page: Page,
    /// Whether it was on before. Otherwise an earlier set-up was not finished.
    pub was_on: bool,
    /// Whether it was just turned off.
    pub just_off: bool,
    /// The kept phones.
    pub phones: Vec<KeptPhone>,
}

impl OnAgain {
    fn title(&self) -> &'static str {
        let texts = self.page.t();
        if self.was_on { texts.off.again_title } else { texts.settings.title }
    }

    fn lead(&self) -> String {
        (self.page.t().off.again_lead)(&self.page.product)
    }

    fn phone_name(&self, phone: &KeptPhone) -> String {
        (self.page.t().sign_in.number)(&phone.hint)
    }
}
