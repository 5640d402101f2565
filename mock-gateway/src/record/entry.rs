//! What the record keeps of one request, and of the text or call that came of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::clock;
use crate::courier::Told;
use crate::item::{Item, News};
use crate::outcome::Channel;

/// Callbacks kept for one text or call: only one that is told by hand over and over gets there.
const CALLBACKS_AT_MOST: usize = 100;

/// Characters kept of anything a client wrote; longer than whatever a carrier accepts.
const CHARACTERS_AT_MOST: usize = 4_000;

/// One request.
pub(crate) struct Entry {
    pub(crate) asked: Asked,
    pub(crate) accepted: Option<Arc<Accepted>>,
}

/// What was asked, and how it was answered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Asked {
    pub(crate) at: Timestamp,
    pub(crate) carrier: &'static str,
    pub(crate) channel: Channel,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) account: String,
    pub(crate) to: Option<String>,
    pub(crate) from: Option<String>,
    /// Texts: what was written.
    pub(crate) body: Option<String>,
    /// Calls: what was spoken.
    pub(crate) transcript: Option<String>,
    /// Calls: in which languages.
    pub(crate) language: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) validity_s: Option<u32>,
    pub(crate) status_callback: Option<String>,
    /// What was chosen to become of it; none if it was refused on its own account.
    pub(crate) outcome: Option<&'static str>,
    pub(crate) answer: Answer,
}

impl Asked {
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

/// Text of a client, bounded for the record.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(CHARACTERS_AT_MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// How a request was answered.
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
    pub(crate) item: Box<dyn Item>,
    progress: Mutex<Progress>,
}

/// How far it got.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) news: News,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    /// When it first left the state it was accepted in.
    pub(crate) started: Option<Timestamp>,
    pub(crate) callbacks: VecDeque<Told>,
}

impl Accepted {
    pub(super) fn new(
        sid: &str, carrier: &'static str, channel: Channel, at: Timestamp, status: &'static str,
        item: Box<dyn Item>,
    ) -> Self {
        let callbacks = VecDeque::new();
        let progress =
            Progress { news: News::of(status), created: at, updated: at, started: None, callbacks };
        Self { sid: sid.to_owned(), carrier, channel, item, progress: Mutex::new(progress) }
    }

    pub(crate) fn advance(&self, news: &News) {
        let mut progress = self.lock();
        progress.updated = clock::now();
        if progress.news.status != news.status && progress.started.is_none() {
            progress.started = Some(progress.updated);
        }
        progress.news = news.clone();
    }

    pub(crate) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    pub(super) fn told(&self, told: Told) {
        let mut progress = self.lock();
        if progress.callbacks.len() == CALLBACKS_AT_MOST {
            progress.callbacks.pop_front();
        }
        progress.callbacks.push_back(told);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
