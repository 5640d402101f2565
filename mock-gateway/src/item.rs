//! What a carrier's module hands over when it accepts a text or a call: everything the rest of the gateway
//! needs to walk it through its states and to tell of them, without knowing the carrier.

use std::borrow::Cow;

use crate::config::Config;
use crate::courier::Callback;
use crate::outcome::Outcome;
use crate::record::Progress;

/// An accepted text or call, as its carrier sees it.
pub(crate) trait Item: Send + Sync {
    /// The states it walks through after it was accepted. `outcome` is never a refusal.
    fn course(&self, outcome: &Outcome) -> Vec<News>;

    /// Whether the customer asked to be told of this state.
    fn wants(&self, news: &News) -> bool;

    /// The callback that tells of this state, signed; none if there is no address to tell it to.
    fn callback(&self, news: &News, config: &Config) -> Option<Callback>;

    /// What the carrier's API shows when this is read.
    fn resource(&self, progress: &Progress) -> serde_json::Value;
}

/// A text or call got into a new state.
#[derive(Debug, Clone)]
pub(crate) struct News {
    /// The carrier's word for the state.
    pub(crate) status: Cow<'static, str>,
    /// The carrier's code for what went wrong.
    pub(crate) error_code: Option<u32>,
    /// Calls: how the phone's network answered, if not as usual for the state.
    pub(crate) sip_response_code: Option<u16>,
    /// Calls: a machine picked up.
    pub(crate) machine: bool,
}

impl News {
    pub(crate) const fn of(status: &'static str) -> Self {
        Self { status: Cow::Borrowed(status), error_code: None, sip_response_code: None, machine: false }
    }

    pub(crate) const fn error(status: &'static str, code: u32) -> Self {
        let mut news = Self::of(status);
        news.error_code = Some(code);
        news
    }
}
