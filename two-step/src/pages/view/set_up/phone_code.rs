//! The page of a phone's first code.

use askama::Template;

use super::super::sign_in::{Delivery, EntryError, SendButton, Sends};
use super::super::{Channel, Page};
use super::Place;

/// `/settings/phone/{method}`: the code that was sent to a new or kept phone.
///
/// Forms:
/// - POST `/settings/phone/{method}`: `csrf`, `code`;
/// - POST `/settings/phone/{method}/again`: `csrf`, `channel` (`sms` or `voice`).
///
/// Links: `/settings/phone/{method}` ("Check again"), `/settings/phone` ("Change the number"), `/settings`.
/// The script polls `/settings/phone/{method}/status`, which answers like `/challenge/{id}/status`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/phone_code.html")]
pub struct PhoneCode {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The method's id.
    pub method: String,
    /// The number in international form, or masked for a kept phone.
    pub number: String,
    /// Whether "Change the number" is offered. Only for a new phone.
    pub may_change: bool,
    /// The channel of the code.
    pub channel: Channel,
    /// The delivery state of the code.
    pub delivery: Option<Delivery>,
    /// Why the entry was refused.
    pub error: Option<EntryError>,
    /// The buttons that send a code.
    pub sends: Sends,
}

impl PhoneCode {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn heading(&self) -> &'static str {
        match self.channel {
            Channel::Voice => self.page.t().sign_in.title_voice,
            _ => self.page.t().sign_in.title_sms,
        }
    }

    /// The parts of the sentence before and after the number.
    fn lead(&self) -> (&'static str, &'static str) {
        let texts = &self.page.t().phone;
        if self.delivery.is_some_and(Delivery::was_never_sent) {
            return ("", "");
        }
        match self.channel {
            Channel::Voice => texts.calling,
            _ => texts.sent,
        }
    }

    fn status(&self) -> Option<(String, &'static str)> {
        let delivery = self.delivery?;
        Some((delivery.text(self.page.lang, self.channel), delivery.tone().word()))
    }

    fn here(&self) -> String {
        format!("/settings/phone/{}", self.method)
    }

    fn poll(&self) -> String {
        format!("/settings/phone/{}/status", self.method)
    }

    fn send_path(&self) -> String {
        format!("/settings/phone/{}/again", self.method)
    }

    fn error_text(&self) -> Option<String> {
        self.error.map(|error| error.text(self.page.lang))
    }

    fn buttons(&self) -> Vec<SendButton> {
        self.sends.buttons(self.page.lang, self.channel, self.delivery)
    }
}
