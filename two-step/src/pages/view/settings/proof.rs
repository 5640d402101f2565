//! The page before the settings of an account that is on.

use askama::Template;

use super::super::Page;

/// Shown if the last proof is older than `proof.fresh`.
///
/// Forms: POST `action`: `csrf` starts the challenge; POST `/settings/leave`: `csrf`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/proof.html")]
pub struct FreshProof {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The URL of the form, such as `/settings/proof`.
    pub action: String,
    /// Whether an earlier proof has expired.
    pub expired: bool,
}

impl FreshProof {
    fn lead(&self) -> &'static str {
        let texts = &self.page.t().proof;
        if self.expired { texts.lead_expired } else { texts.lead }
    }
}
