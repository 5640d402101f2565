//! The page of the history.

use askama::Template;

use super::super::{Page, when};
use super::Change;

/// The author of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The user.
    User,
    /// The product's server.
    Product,
    /// A support agent.
    Support,
    /// The service.
    Service,
}

/// An event of the history.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The time, in Unix seconds.
    pub at: i64,
    /// What.
    pub change: Change,
    /// The method or device, as a text; may be empty.
    pub detail: String,
    /// The author of an event.
    pub actor: Actor,
}

/// `/settings/history`: the events, newest first. Links: `/settings`, and the older events.
#[derive(Debug, Clone, Template)]
#[template(path = "settings/history.html")]
pub struct History {
    /// Language, product, CSRF value.
    pub page: Page,
    /// The events, newest first.
    pub entries: Vec<Entry>,
    /// The URL of the older events, such as `/settings/history?before=123`; `None` on the last page.
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
