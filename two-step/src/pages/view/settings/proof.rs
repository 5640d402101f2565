//! The page before the settings of an account that is on.

use askama::Template;

use super::super::Page;

/// Shown where a second-step proof of the last ten minutes is missing.
///
/// Forms: POST `action`: `csrf` starts the challenge; POST `/settings/leave`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/proof.html")]
pub struct FreshProof {
    /// Language, product, CSRF value.
    pub page: Page,
    /// Where the form goes, such as `/settings/proof`.
    pub action: String,
    /// Whether there was a proof and it is too old now.
    pub expired: bool,
}

impl FreshProof {
    fn lead(&self) -> &'static str {
        let texts = &self.page.t().proof;
        if self.expired { texts.lead_expired } else { texts.lead }
    }
}
