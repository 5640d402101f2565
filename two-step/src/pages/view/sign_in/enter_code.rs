//! The page with the code field.

use askama::Template;

use super::super::{Page, Proof};
use super::{Delivery, EntryError, SendButton, Sends, Trust};

/// The purpose of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To confirm an action in the product or the settings.
    Confirm,
    /// To sign in from an unknown browser.
    NewDevice,
}

/// `/challenge/{id}`: the page with the code field.
///
/// Forms:
/// - POST `/challenge/{id}`: `csrf`, `method`, `code`, `trust` (`yes`, or missing);
/// - POST `/challenge/{id}/send`: `csrf`, `method`, `channel` (`sms`, `voice` or `email`);
/// - POST `/challenge/{id}/cancel`: `csrf`.
///
/// Links: `/challenge/{id}` ("Check again"), `/challenge/{id}/ways`. The script polls `/challenge/{id}/status`.
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in/enter_code.html")]
pub struct EnterCode {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The challenge's id, for the paths.
    pub challenge: String,
    /// The purpose of the challenge.
    pub purpose: Purpose,
    /// The id of the shown method. Empty for recovery codes, because an account has one set.
    pub method: String,
    /// The kind of proof.
    pub proof: Proof,
    /// The last two digits of the number, the masked address, or the authenticator's name; may be empty.
    pub hint: String,
    /// The delivery state of the code. None before the first send, and where nothing is sent.
    pub delivery: Option<Delivery>,
    /// Why the last entry was refused.
    pub error: Option<EntryError>,
    /// The checkbox "Trust this device".
    pub trust: Trust,
    /// Whether the checkbox is ticked. It keeps its state after a refused entry.
    pub trust_ticked: bool,
    /// The buttons that send a code.
    pub sends: Sends,
    /// Whether "Use another way" is offered.
    pub other_ways: bool,
}

impl EnterCode {
    fn heading(&self) -> &'static str {
        let texts = &self.page.t().sign_in;
        match self.proof {
            Proof::Sms => texts.title_sms,
            Proof::Voice => texts.title_voice,
            Proof::Totp => texts.title_totp,
            Proof::Email => texts.title_email,
            Proof::App => texts.title_app,
            Proof::Recovery => texts.title_recovery,
        }
    }

    fn lead(&self) -> String {
        let texts = &self.page.t().sign_in;
        if self.delivery.is_some_and(Delivery::was_never_sent) {
            return match self.proof {
                Proof::Email => self.hint.clone(),
                _ => (texts.number)(&self.hint),
            };
        }
        match self.proof {
            Proof::Sms => (texts.lead_sms)(&self.hint),
            Proof::Voice => (texts.lead_voice)(&self.hint),
            Proof::Totp => (texts.lead_totp)(&self.page.product),
            Proof::Email => (texts.lead_email)(&self.hint),
            Proof::App => texts.title_app.to_owned(),
            Proof::Recovery => texts.lead_recovery.to_owned(),
        }
    }

    /// Explains why a code is required although two-step verification is off.
    fn reason(&self) -> Option<&'static str> {
        (self.purpose == Purpose::NewDevice).then_some(self.page.t().sign_in.new_device)
    }

    /// The user's name for the authenticator, if there is one.
    fn authenticator(&self) -> Option<&str> {
        (self.proof == Proof::Totp && !self.hint.is_empty()).then_some(self.hint.as_str())
    }

    fn status(&self) -> Option<(String, &'static str)> {
        let (delivery, channel) = (self.delivery?, self.proof.channel()?);
        Some((delivery.text(self.page.lang, channel), delivery.tone().word()))
    }

    fn here(&self) -> String {
        format!("/challenge/{}", self.challenge)
    }

    fn poll(&self) -> String {
        format!("/challenge/{}/status", self.challenge)
    }

    fn send_path(&self) -> String {
        format!("/challenge/{}/send", self.challenge)
    }

    fn error_text(&self) -> Option<String> {
        self.error.map(|error| error.text(self.page.lang))
    }

    fn is_recovery(&self) -> bool {
        self.proof == Proof::Recovery
    }

    fn trust_label(&self) -> Option<String> {
        self.trust.label(self.page.lang)
    }

    fn buttons(&self) -> Vec<SendButton> {
        let Some(channel) = self.proof.channel() else { return vec![] };
        self.sends.buttons(self.page.lang, channel, self.delivery)
    }

    fn cancel_label(&self) -> &'static str {
        match self.purpose {
            Purpose::SignIn | Purpose::NewDevice => self.page.t().sign_in.cancel,
            Purpose::Confirm => self.page.t().common.cancel,
        }
    }
}
