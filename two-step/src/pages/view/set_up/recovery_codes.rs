//! The pages of recovery codes: the number left, and a new set.

use askama::Template;

use super::super::{Page, when};
use super::{Place, grouped, percent_encoded};

/// `/settings/recovery-codes`: the number of codes left. The codes themselves cannot be shown again.
///
/// Form: POST `/settings/recovery-codes`: `csrf`. Link: `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/recovery_codes.html")]
pub struct RecoveryCodes {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The number of codes left; `None` without a set.
    pub left: Option<u32>,
    /// When the set was created, in Unix seconds.
    pub made_at: Option<i64>,
}

impl RecoveryCodes {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn left_text(&self) -> Option<String> {
        self.left.map(|left| (self.page.t().recovery.left)(left))
    }

    fn made(&self) -> Option<(String, String)> {
        let at = self.made_at?;
        Some((when::machine(at), (self.page.t().recovery.made)(&when::date(self.page.lang, at))))
    }
}

/// The answer to POST `/settings/recovery-codes`: a new set, which is shown once.
///
/// Form: POST `/settings/recovery-codes/saved`: `csrf`, `saved` (`yes`, or missing).
#[derive(Debug, Clone, Template)]
#[template(path = "set_up/new_recovery_codes.html")]
pub struct NewRecoveryCodes {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The page's step in the wizard, or `Settings`.
    pub place: Place,
    /// The codes, with or without dashes.
    pub codes: Vec<String>,
    /// When the set was created, in Unix seconds. It is printed with the codes.
    pub made_at: i64,
}

impl NewRecoveryCodes {
    fn step(&self) -> Option<String> {
        self.place.step_text(&self.page)
    }

    fn lines(&self) -> Vec<String> {
        self.codes.iter().map(|code| grouped(code, '-')).collect()
    }

    fn title_for(&self) -> String {
        (self.page.t().recovery.title_for)(&self.page.product)
    }

    fn made(&self) -> String {
        (self.page.t().recovery.made)(&when::date(self.page.lang, self.made_at))
    }

    /// The name of the downloaded file.
    fn file_name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let product: String = self.page.product.chars().map(plain).collect();
        format!("{}-{}.txt", product.trim_matches('-'), self.page.t().recovery.file)
    }

    /// The file as a `data:` URL, so that the download needs no script and no request.
    fn download(&self) -> String {
        let texts = &self.page.t().recovery;
        let file = format!(
            "{}\n{}\n\n{}\n\n{}\n",
            self.title_for(),
            self.made(),
            self.lines().join("\n"),
            texts.once
        );
        format!("data:text/plain;charset=utf-8,{}", percent_encoded(&file))
    }
}
