//! The entry of one request, with the text or call that it created.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::callbacks::CallbackResult;
use crate::carrier_message::{CarrierMessage, Spoken, StateChange};
use crate::clock;
use crate::outcome::Channel;

/// Maximum number of callbacks stored for one message. Only repeated manual receipts reach it.
const MAX_CALLBACKS: usize = 100;

/// Maximum number of stored characters of a client's text. It exceeds every carrier's limit.
const MAX_CHARACTERS: usize = 4_000;

/// One request.
pub(crate) struct Entry {
    pub(crate) request: RequestRecord,
    pub(crate) accepted: Option<Arc<Accepted>>,
}

/// A request, with its answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RequestRecord {
    pub(crate) at: Timestamp,
    pub(crate) carrier: &'static str,
    pub(crate) channel: Channel,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) account: String,
    pub(crate) to: Option<String>,
    pub(crate) from: Option<String>,
    /// The body of a text.
    pub(crate) body: Option<String>,
    /// The transcript of a call.
    pub(crate) transcript: Option<String>,
    /// Languages of a call.
    pub(crate) language: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) validity_s: Option<u32>,
    pub(crate) status_callback: Option<String>,
    /// The outcome; `None` if the request was invalid.
    pub(crate) outcome: Option<&'static str>,
    pub(crate) answer: Answer,
}

impl RequestRecord {
    pub(crate) fn new(
        carrier: &'static str, channel: Channel, method: &'static str, path: &str, account: &str,
    ) -> Self {
        Self {
            at: clock::now(),
            carrier,
            channel,
            method,
            path: clip(path),
            account: clip(account),
            to: None,
            from: None,
            body: None,
            transcript: None,
            language: None,
            sid: None,
            validity_s: None,
            status_callback: None,
            outcome: None,
            answer: Answer::Status(0),
        }
    }
}

impl RequestRecord {
    /// Returns the record of a call that has gone on after a pressed key.
    pub(super) fn with_speech(&self, spoken: &Spoken) -> Self {
        let before = self.transcript.as_deref().unwrap_or_default();
        let transcript = clip(&format!("{before} (a key is pressed) {}", spoken.transcript));
        let language = self.language.clone().or_else(|| spoken.language.clone());
        Self { transcript: Some(transcript), language, ..self.clone() }
    }
}

/// Returns a client's text, shortened for the record.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    HungUp,
    Held,
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Status(status) => serializer.serialize_u16(*status),
            Self::HungUp => serializer.serialize_str("hung up"),
            Self::Held => serializer.serialize_str("held"),
        }
    }
}

/// A text or call that was accepted.
pub(crate) struct Accepted {
    pub(crate) sid: String,
    pub(crate) carrier: &'static str,
    pub(crate) channel: Channel,
    pub(crate) message: Box<dyn CarrierMessage>,
    progress: Mutex<Progress>,
}

/// The current state.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) change: StateChange,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    /// When it first left its initial state.
    pub(crate) started: Option<Timestamp>,
    pub(crate) callbacks: VecDeque<CallbackResult>,
    /// What the call has said after a key was pressed.
    pub(crate) after_key: Option<Spoken>,
}

impl Accepted {
    pub(super) fn new(
        sid: &str, carrier: &'static str, channel: Channel, at: Timestamp, status: &'static str,
        message: Box<dyn CarrierMessage>,
    ) -> Self {
        let callbacks = VecDeque::new();
        let change = StateChange::of(status);
        let progress =
            Progress { change, created: at, updated: at, started: None, callbacks, after_key: None };
        Self { sid: sid.to_owned(), carrier, channel, message, progress: Mutex::new(progress) }
    }

    pub(crate) fn advance(&self, change: &StateChange) {
        let mut progress = self.lock();
        progress.updated = clock::now();
        if progress.change.status != change.status && progress.started.is_none() {
            progress.started = Some(progress.updated);
        }
        progress.change = change.clone();
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    pub(crate) fn add_speech(&self, spoken: Spoken) {
        self.lock().after_key = Some(spoken);
    }

    pub(super) fn add_callback(&self, result: CallbackResult) {
        let mut progress = self.lock();
        if progress.callbacks.len() == MAX_CALLBACKS {
            progress.callbacks.pop_front();
        }
        progress.callbacks.push_back(result);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
