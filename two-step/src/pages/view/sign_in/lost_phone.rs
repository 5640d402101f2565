//! The page after a sign-in with a recovery code or a code from support.

use askama::Template;

use super::super::Page;
use super::super::set_up::grouped;

/// `/challenge/{id}/lost`: the page after a sign-in with a recovery code or a code from support.
///
/// Forms: POST `/challenge/{id}/lost`: `csrf`, `answer` (`remove` or `keep`), `phone` (the method to remove). Without a
/// phone, the only button sends `keep`.
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in/lost_phone.html")]
pub struct LostPhone {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The challenge's id, for the paths.
    pub challenge: String,
    /// The phones that may be lost: the method's id, and the last two digits. Without one the page asks nothing.
    pub phones: Vec<(String, String)>,
    /// The recovery code that replaces the used one. It is shown only once.
    pub new_code: Option<String>,
}

impl LostPhone {
    fn heading(&self) -> &'static str {
        let texts = &self.page.t().lost;
        match self.phones.len() {
            0 => texts.title,
            1 => texts.question,
            _ => texts.question_of_many,
        }
    }

    fn phone_line(&self, hint: &str) -> String {
        (self.page.t().lost.phone)(hint)
    }

    fn code(&self) -> Option<String> {
        self.new_code.as_deref().map(|code| grouped(code, '-'))
    }
}
