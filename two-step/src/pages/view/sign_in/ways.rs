//! The page that lists all methods.

use askama::Template;

use super::super::{Page, Proof, when};
use super::Purpose;

/// A method on the list. A phone that receives texts and calls is listed twice.
#[derive(Debug, Clone)]
pub struct Way {
    /// The method's id. Empty for recovery codes.
    pub method: String,
    /// The kind of proof.
    pub proof: Proof,
    /// The user's own name for the method.
    pub name: Option<String>,
    /// The last two digits of the number, or the masked address; may be empty.
    pub hint: String,
    /// Seconds until a code can be sent this way; `None`: now.
    pub wait: Option<u64>,
}

/// Why no code was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProblem {
    /// It is too early, or a limit is reached. Seconds until a code can be sent.
    Limited(u64),
    /// All sends of this challenge are used up.
    UsedUp,
    /// The method cannot receive a code by this channel.
    NotPossible,
}

/// `/challenge/{id}/ways`: all active methods.
///
/// Form: POST `/challenge/{id}/ways`: `csrf`, `method`, `proof` (`sms`, `voice`, `totp`, `email`, `app`, `recovery`),
/// `channel` (`sms`, `voice` or `email`; missing if nothing is sent).
#[derive(Debug, Clone, Template)]
#[template(path = "sign_in/ways.html")]
pub struct Ways {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The challenge's id, for the paths.
    pub challenge: String,
    /// The purpose of the challenge.
    pub purpose: Purpose,
    /// The methods, best first.
    pub ways: Vec<Way>,
    /// Why the last choice was refused.
    pub problem: Option<SendProblem>,
    /// Whether codes were sent before. They are still valid.
    pub sent: bool,
    /// Whether the page with the code field can be shown again.
    pub back: bool,
}

impl Ways {
    fn problem_text(&self) -> Option<String> {
        let texts = &self.page.t().ways;
        Some(match self.problem? {
            SendProblem::Limited(seconds) => (texts.limited)(&when::wait(self.page.lang, seconds)),
            SendProblem::UsedUp => texts.used_up.to_owned(),
            SendProblem::NotPossible => texts.not_possible.to_owned(),
        })
    }

    fn label(&self, way: &Way) -> &'static str {
        way.proof.name(self.page.lang)
    }

    /// The second line: the method's name, and the masked target.
    fn detail(&self, way: &Way) -> String {
        let place = match way.proof {
            Proof::Sms | Proof::Voice => (self.page.t().ways.to_number)(&way.hint),
            _ => way.hint.clone(),
        };
        let parts = [way.name.clone(), Some(place).filter(|p| !p.is_empty())];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    /// "Possible in 25 s", the same text with `{}` instead of the time, which the script replaces, and the seconds.
    fn wait(&self, way: &Way) -> Option<(String, String, u64)> {
        let possible_in = self.page.t().ways.possible_in;
        let words = |seconds| possible_in(&when::wait(self.page.lang, seconds));
        way.wait.map(|seconds| (words(seconds), possible_in("{}"), seconds))
    }

    fn back_path(&self) -> String {
        format!("/challenge/{}", self.challenge)
    }

    fn proof_word(way: &Way) -> &'static str {
        way.proof.word()
    }

    fn has_telephone(&self) -> bool {
        self.ways.iter().any(|way| way.proof.is_telephone())
    }

    fn cancel_label(&self) -> &'static str {
        match self.purpose {
            Purpose::SignIn | Purpose::NewDevice => self.page.t().sign_in.cancel,
            Purpose::Confirm => self.page.t().common.cancel,
        }
    }
}
