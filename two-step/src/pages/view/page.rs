//! The frame of every page.

use super::text::Texts;
use super::{Accent, Lang, assets};

/// The frame of every page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The language of the page.
    pub lang: Lang,
    /// The product's name, at the top of the page and in sentences.
    pub product: String,
    /// The value of the hidden field `csrf` in every form.
    pub csrf: String,
    /// The product's colour for the main button. `None`: our blue.
    pub accent: Option<Accent>,
    /// The target of "Back to …". `None` hides the link.
    pub home: Option<String>,
    /// The user's name for the footer. `None` hides the line.
    pub account: Option<String>,
    /// Whether the page has secrets that are shown once. Such a page offers no other languages, because a reload would
    /// lose them.
    pub shown_once: bool,
}

impl Page {
    /// Creates a page with a language, a product's name and a CSRF value, and without colour, home link and account.
    pub fn new(lang: Lang, product: impl Into<String>, csrf: impl Into<String>) -> Self {
        Self {
            lang,
            product: product.into(),
            csrf: csrf.into(),
            accent: None,
            home: None,
            account: None,
            shown_once: false,
        }
    }

    /// The sentences in the page's language.
    pub(crate) fn t(&self) -> &'static Texts {
        self.lang.texts()
    }

    /// The languages that the page offers.
    pub(crate) fn other_langs(&self) -> impl Iterator<Item = Lang> + use<> {
        let (shown, once) = (self.lang, self.shown_once);
        Lang::ALL.into_iter().filter(move |lang| *lang != shown && !once)
    }

    /// "Back to Shop".
    pub(crate) fn back_home(&self) -> String {
        (self.t().common.back_to)(&self.product)
    }

    /// "Account: …".
    pub(crate) fn account_line(&self, account: &str) -> String {
        (self.t().common.account)(account)
    }

    /// "You can ask again in {}.", for the script's countdown.
    pub(crate) fn ask_again_template(&self) -> String {
        (self.t().sign_in.ask_again_in)("{}")
    }

    /// The units of the script's countdown: seconds, minutes.
    pub(crate) fn units(&self) -> String {
        format!("{} {}", self.t().time.seconds, self.t().time.minutes)
    }

    /// The version in the URLs of the style sheet and the script. It changes with their content.
    #[expect(clippy::unused_self, reason = "templates reach it through the page")]
    pub(crate) fn version(&self) -> String {
        format!("{:08x}", assets::VERSION)
    }
}
