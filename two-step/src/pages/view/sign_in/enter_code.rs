//! The page where the code is typed.

use askama::Template;

use super::super::{Page, Proof};
use super::{Delivery, EntryError, SendButton, Sends, Trust};

/// What a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To confirm a step inside the product or the settings.
    Confirm,
    /// To sign in from a browser that is not known yet.
    NewDevice,
}

/// `/challenge/{id}`: the page where the code is typed.
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
    /// What the challenge is for.
    pub purpose: Purpose,
    /// The id of the method shown. Empty for recovery codes of which there is one set only.
    pub method: String,
    /// How the user proves it.
    pub proof: Proof,
    /// The last two digits of the number, the masked address, or the authenticator's name; may be empty.
    pub hint: String,
    /// What became of the code. None before the first send, and where nothing is sent.
    pub delivery: Option<Delivery>,
    /// Why the last entry was not accepted.
    pub error: Option<EntryError>,
    /// The box "Trust this device".
    pub trust: Trust,
    /// Whether the box stays ticked, after an entry that was not accepted.
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

    /// Why a code is asked for, where two-step verification is off.
    fn reason(&self) -> Option<&'static str> {
        (self.purpose == Purpose::NewDevice).then_some(self.page.t().sign_in.new_device)
    }

    /// The authenticator's own name, where it has one.
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
