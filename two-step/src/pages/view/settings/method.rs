//! The page of one method with its actions, and the confirmation before it is removed.

use askama::Template;

use super::super::{Channel, Page};
use super::{MethodRow, Notice};

/// Why an action on a method was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodProblem {
    /// The name is too long, or has control characters.
    Name {
        /// The maximum length of a name, in characters.
        max: u32,
    },
}

/// The channel of a phone.
#[derive(Debug, Clone, Copy)]
pub struct PhoneChoice {
    /// The current channel.
    pub channel: Channel,
    /// Whether it cannot receive texts, such as a landline.
    pub no_texts: bool,
    /// Whether the product allows calls.
    pub voice: bool,
    /// Whether a call follows a failed text.
    pub fallback: bool,
}

impl PhoneChoice {
    fn may_choose(self) -> bool {
        self.voice && !self.no_texts
    }

    fn by_call(self) -> bool {
        self.channel == Channel::Voice
    }
}

/// The code that a page offers to send to a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOffer {
    /// No code.
    Nothing,
    /// A test code.
    Test,
    /// A code that resumes a paused method.
    Prove,
}

/// `/settings/methods/{id}`: one method and its actions.
///
/// Forms, all POST `/settings/methods/{id}` with `csrf` and `action`:
/// - `rename`: `label`;
/// - `prefer`;
/// - `channel`: `channel` (`sms` or `voice`);
/// - `fallback`: `fallback` (`on` or `off`: the new state);
/// - `test`.
///
/// A paused phone has the form POST `/settings/phone/{id}/again` with `csrf`.
///
/// Links: `/settings/methods/{id}/remove`, `/settings`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/method.html")]
pub struct MethodPage {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The last action.
    pub notice: Option<Notice>,
    /// The method.
    pub method: MethodRow,
    /// The refused name, and why it was refused.
    pub problem: Option<(MethodProblem, String)>,
    /// The channel of a phone; `None` for other kinds.
    pub phone: Option<PhoneChoice>,
    /// The code that can be sent to it.
    pub code: CodeOffer,
    /// Whether it can become the preferred method.
    pub may_prefer: bool,
    /// Whether it may be removed. The last method and the last backup may not.
    pub may_remove: bool,
}

impl MethodPage {
    fn problem_text(&self) -> Option<String> {
        self.problem.as_ref().map(|(MethodProblem::Name { max }, _)| (self.page.t().method.name_error)(*max))
    }

    fn label_value(&self) -> &str {
        match &self.problem {
            Some((_, typed)) => typed,
            None => self.method.name.as_deref().unwrap_or_default(),
        }
    }
}

/// `/settings/methods/{id}/remove`: asks for confirmation before a method is removed.
///
/// Form: POST `/settings/methods/{id}`: `csrf`, `action` (`remove`). Link: `/settings/methods/{id}`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/remove.html")]
pub struct RemoveMethod {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The method.
    pub method: MethodRow,
    /// Whether it gets notices. Then the page says that it gets a last one.
    pub is_told: bool,
}
