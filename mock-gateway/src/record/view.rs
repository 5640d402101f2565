//! The record as the API shows it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::{Asked, Entry};
use crate::courier::Told;

/// A piece of a list.
#[derive(Serialize)]
pub(crate) struct Page {
    /// How many of the oldest entries are no longer kept.
    pub(crate) dropped: u64,
    /// The number of the newest entry of the whole list.
    pub(crate) last_seq: u64,
    pub(crate) entries: Vec<View>,
}

/// One entry, with its number and its present state.
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
            asked: &'a Asked,
            status: Option<String>,
            error_code: Option<u32>,
            callbacks: VecDeque<Told>,
        }
        let progress = self.entry.accepted.as_ref().map(|accepted| accepted.progress());
        let (news, callbacks) = progress.map(|progress| (progress.news, progress.callbacks)).unzip();
        Shown {
            seq: self.seq,
            asked: &self.entry.asked,
            error_code: news.as_ref().and_then(|news| news.error_code),
            status: news.map(|news| news.status.into_owned()),
            callbacks: callbacks.unwrap_or_default(),
        }
        .serialize(serializer)
    }
}
