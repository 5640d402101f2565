//! One method: its actions, and the page that asks before it is removed.

use askama::Template;

use super::super::{Channel, Page};
use super::{MethodRow, Notice};

/// Why an action on a method was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodProblem {
    /// The name is too long, or has characters that cannot be shown.
    Name {
        /// The most characters that a name may have.
        max: u32,
    },
}

/// How codes reach a phone.
#[derive(Debug, Clone, Copy)]
pub struct PhoneChoice {
    /// How they reach it now: by text or by call.
    pub channel: Channel,
    /// Whether texts do not reach it: a landline.
    pub no_texts: bool,
    /// Whether the product allows calls.
    pub voice: bool,
    /// Whether a call follows a text that failed.
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
    /// None.
    Nothing,
    /// One that shows that codes arrive.
    Test,
    /// One that makes a paused method usable again.
    Prove,
}

/// `/settings/methods/{id}`: one method and what can be done with it.
///
/// Forms, all POST `/settings/methods/{id}` with `csrf` and `action`:
/// - `rename`: `label`;
/// - `prefer`;
/// - `channel`: `channel` (`sms` or `voice`);
/// - `fallback`: `fallback` (`on` or `off`: the state wanted);
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
    /// What was done just now.
    pub notice: Option<Notice>,
    /// The method.
    pub method: MethodRow,
    /// What was typed as a name and refused, with the reason.
    pub problem: Option<(MethodProblem, String)>,
    /// How codes reach the phone; none for other kinds.
    pub phone: Option<PhoneChoice>,
    /// The code that can be sent to it.
    pub code: CodeOffer,
    /// Whether it may become the preferred method.
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

/// `/settings/methods/{id}/remove`: asks before a method is removed.
///
/// Form: POST `/settings/methods/{id}`: `csrf`, `action` (`remove`). Link: `/settings/methods/{id}`.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/remove.html")]
pub struct RemoveMethod {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The method.
    pub method: MethodRow,
    /// Whether it is the phone or address that a notice goes to. The page says that it gets a last one.
    pub is_told: bool,
}
