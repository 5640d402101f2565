//! A text or call with its states and callbacks, independent of the carrier.

use std::borrow::Cow;

use crate::callbacks::Callback;
use crate::config::Config;
use crate::outcome::Outcome;
use crate::record::Progress;

/// An accepted text or call.
pub(crate) trait CarrierMessage: Send + Sync {
    /// Returns the states after the acceptance. `outcome` is never a refusal.
    fn states(&self, outcome: &Outcome) -> Vec<StateChange>;

    /// Whether the client requested callbacks for this state.
    fn wants(&self, change: &StateChange) -> bool;

    /// Returns the signed callback of this state, or `None` without a callback URL.
    fn callback(&self, change: &StateChange, config: &Config) -> Option<Callback>;

    /// Returns the signed request that a pressed key causes. `None` if the call asks for none.
    fn key_request(&self, _: &Config) -> Option<Callback> {
        None
    }

    /// Returns what the answer to that request says.
    fn speech(&self, answer: &str) -> Spoken {
        Spoken { transcript: answer.to_owned(), language: None }
    }

    /// Returns the resource of the carrier's API.
    fn resource(&self, progress: &Progress) -> serde_json::Value;
}

/// What a call says after a key was pressed.
#[derive(Debug, Clone)]
pub(crate) struct Spoken {
    pub(crate) transcript: String,
    pub(crate) language: Option<String>,
}

/// A new state of a text or call.
#[derive(Debug, Clone)]
pub(crate) struct StateChange {
    /// The carrier's status word.
    pub(crate) status: Cow<'static, str>,
    /// The carrier's error code.
    pub(crate) error_code: Option<u32>,
    /// Calls: the SIP response code, if it is unusual for the state.
    pub(crate) sip_response_code: Option<u16>,
    /// Calls: whether an answering machine picked up.
    pub(crate) machine: bool,
}

impl StateChange {
    pub(crate) const fn of(status: &'static str) -> Self {
        Self { status: Cow::Borrowed(status), error_code: None, sip_response_code: None, machine: false }
    }

    pub(crate) const fn error(status: &'static str, code: u32) -> Self {
        let mut change = Self::of(status);
        change.error_code = Some(code);
        change
    }
}
