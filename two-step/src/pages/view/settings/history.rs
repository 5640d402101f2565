//! What happened to the account.

use askama::Template;

use super::super::{Page, when};
use super::Change;

/// The person or program that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The user.
    User,
    /// The product's server.
    Product,
    /// A support agent.
    Support,
    /// The service by itself.
    Service,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, in Unix seconds.
    pub at: i64,
    /// What.
    pub change: Change,
    /// Which method or device, in words; may be empty.
    pub detail: String,
    /// The person or program that did it.
    pub actor: Actor,
}

/// `/settings/history`: what happened, the latest first. Links: `/settings`, and the older entries.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/history.html")]
pub struct History {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The entries, the latest first.
    pub entries: Vec<Entry>,
    /// Where the older entries are, such as `/settings/history?before=123`; none at the end.
    pub older: Option<String>,
}

impl History {
    fn sentence(&self, entry: &Entry) -> &'static str {
        entry.change.text(self.page.lang)
    }

    fn by(&self, entry: &Entry) -> String {
        let texts = &self.page.t().history;
        match entry.actor {
            Actor::User => texts.by_you.to_owned(),
            Actor::Product => (texts.by_product)(&self.page.product),
            Actor::Support => texts.by_support.to_owned(),
            Actor::Service => texts.by_service.to_owned(),
        }
    }

    fn shown_time(&self, entry: &Entry) -> String {
        when::date_time(self.page.lang, entry.at)
    }

    fn machine_time(entry: &Entry) -> String {
        when::machine(entry.at)
    }
}
