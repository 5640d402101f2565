//! The end of the wizard.

use askama::Template;

use super::super::settings::KeptPhone;
use super::super::sign_in::Trust;
use super::super::{MethodKind, Page};
use super::Place;

/// A method that is ready for use.
#[derive(Debug, Clone)]
pub struct ReadyMethod {
    /// What it is.
    pub kind: MethodKind,
    /// The last two digits, the masked address or the name. For recovery codes, how many there are, in digits.
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
    /// Where the page stands.
    pub place: Place,
    /// The methods that were confirmed in this visit.
    pub methods: Vec<ReadyMethod>,
    /// Whether recovery codes can still be made: there are none of this visit.
    pub offer_codes: bool,
    /// Phones of an earlier visit. They are removed unless they are confirmed.
    pub kept_phones: Vec<KeptPhone>,
    /// Other methods of an earlier visit. They are removed.
    pub removed: Vec<ReadyMethod>,
    /// The box "Trust this device".
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
    /// Whether this device was trusted just now.
    pub trusted: bool,
}

impl SetUpDone {
    fn lead(&self) -> String {
        (self.page.t().done.lead)(&self.page.product)
    }
}
