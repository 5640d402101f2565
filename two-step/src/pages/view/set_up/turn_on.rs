//! The end of the wizard.

use askama::Template;

use super::super::settings::KeptPhone;
use super::super::sign_in::Trust;
use super::super::{MethodKind, Page};
use super::Place;

/// An active method.
#[derive(Debug, Clone)]
pub struct ReadyMethod {
    /// Its kind.
    pub kind: MethodKind,
    /// The last two digits, the masked address or the name. For recovery codes, their number.
    pub hint: String,
}

/// `/settings/on`: the summary before two-step verification is turned on.
///
/// Forms: POST `/settings/on`: `csrf`, `trust` (`yes`, or missing); POST `/settings/phone/{method}/again`: `csrf`, `channel`
/// (`sms` or `voice`). Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/turn_on.html")]
pub struct TurnOn {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The methods that were verified in this visit.
    pub methods: Vec<ReadyMethod>,
    /// Whether recovery codes can still be created, because this visit has none.
    pub offer_codes: bool,
    /// Phones of an earlier visit. They are removed unless they are verified.
    pub kept_phones: Vec<KeptPhone>,
    /// Other methods of an earlier visit. They are removed.
    pub removed: Vec<ReadyMethod>,
    /// The checkbox "Trust this device".
    pub trust: Trust,
}

impl TurnOn {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn kind_name(&self, method: &ReadyMethod) -> &'static str {
        method.kind.name(self.page.lang)
    }

    fn detail(&self, method: &ReadyMethod) -> String {
        match method.kind {
            MethodKind::Recovery => method
                .hint
                .parse()
                .map_or_else(|_| method.hint.clone(), |left| (self.page.t().recovery.left)(left)),
            kind => kind.place(self.page.lang, &method.hint),
        }
    }

    fn phone_name(&self, phone: &KeptPhone) -> String {
        (self.page.t().sign_in.number)(&phone.hint)
    }

    fn trust_label(&self) -> Option<String> {
        self.trust.label(self.page.lang)
    }
}

/// The page after POST `/settings/on`: two-step verification is on.
///
/// Form: POST `/settings/leave`: `csrf`. Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/done.html")]
pub struct SetUpDone {
    /// Language, product, CSRF value.
    pub page: Page,
    /// Whether the user has just trusted this device.
    pub trusted: bool,
}

impl SetUpDone {
    fn lead(&self) -> String {
        (self.page.t().done.lead)(&self.page.product)
    }
}
