//! The record in the format of the API.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::{Entry, RequestRecord};
use crate::callbacks::CallbackResult;

/// A part of a list.
#[derive(Serialize)]
pub(crate) struct Page {
    /// Number of the oldest entries that are no longer kept.
    pub(crate) dropped: u64,
    /// The number of the newest entry of the whole list.
    pub(crate) last_seq: u64,
    pub(crate) entries: Vec<View>,
}

/// One entry, with its number and its current state.
pub(crate) struct View {
    seq: u64,
    entry: Arc<Entry>,
}

impl View {
    pub(crate) fn new((seq, entry): (u64, Arc<Entry>)) -> Self {
        Self { seq, entry }
    }
}

impl Serialize for View {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            seq: u64,
            #[serde(flatten)]
            request: Cow<'a, RequestRecord>,
            status: Option<String>,
            error_code: Option<u32>,
            callbacks: VecDeque<CallbackResult>,
        }
        let progress = self.entry.accepted.as_ref().map(|accepted| accepted.progress());
        let after_key = progress.as_ref().and_then(|progress| progress.after_key.as_ref());
        let request = match after_key {
            None => Cow::Borrowed(&self.entry.request),
            Some(spoken) => Cow::Owned(self.entry.request.with_speech(spoken)),
        };
        let (change, callbacks) = progress.map(|progress| (progress.change, progress.callbacks)).unzip();
        Shown {
            seq: self.seq,
            request,
            error_code: change.as_ref().and_then(|change| change.error_code),
            status: change.map(|change| change.status.into_owned()),
            callbacks: callbacks.unwrap_or_default(),
        }
        .serialize(serializer)
    }
}
