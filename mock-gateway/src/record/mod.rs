//! The record of everything that was asked and of what was accepted: append-only, bounded, numbered without
//! gaps.

mod entry;
mod journal;
mod kept;
mod view;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::courier::Told;
use crate::item::Item;
use journal::{Journal, Line};
use kept::Kept;

pub(crate) use entry::{Accepted, Answer, Asked, Entry, Progress, clip};
pub(crate) use view::{Page, View};

/// Entries looked through under one hold of the lock: long enough to be cheap, short enough to hold nobody
/// up.
const STRIDE: usize = 1_000;

/// Which of the two lists.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    Asked,
    Accepted,
}

/// The record.
pub(crate) struct Record {
    lists: Mutex<Lists>,
    journal: Option<Journal>,
}

struct Lists {
    asked: Kept,
    accepted: Kept,
    by_sid: HashMap<String, Arc<Accepted>>,
}

impl Record {
    pub(crate) fn new(cap: usize, file: Option<&Path>) -> io::Result<Self> {
        let journal = file.map(Journal::open).transpose()?;
        let lists = Lists { asked: Kept::new(cap), accepted: Kept::new(cap), by_sid: HashMap::new() };
        Ok(Self { lists: Mutex::new(lists), journal })
    }

    /// Note a request that was not accepted, or that only read something.
    pub(crate) fn asked(&self, asked: Asked) {
        self.note(Entry { asked, accepted: None });
    }

    /// Note a request that was accepted. From now on it can be found by its sid.
    pub(crate) fn accepted(
        &self, mut asked: Asked, sid: &str, status: &'static str, item: impl Item + 'static,
    ) -> Arc<Accepted> {
        asked.sid = Some(sid.to_owned());
        let accepted =
            Arc::new(Accepted::new(sid, asked.carrier, asked.channel, asked.at, status, Box::new(item)));
        self.note(Entry { asked, accepted: Some(Arc::clone(&accepted)) });
        accepted
    }

    /// Note how a callback went.
    pub(crate) fn told(&self, accepted: &Accepted, told: Told) {
        if let Some(journal) = &self.journal {
            journal.append(&Line::Callback { sid: &accepted.sid, told: &told });
        }
        accepted.told(told);
    }

    /// An accepted text or call by its sid.
    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Accepted>> {
        self.lists().by_sid.get(sid).cloned()
    }

    /// Entries after number `after`, oldest first, that `matches` picks.
    pub(crate) fn after(
        &self, list: List, after: u64, limit: usize, matches: impl Fn(&Asked) -> bool,
    ) -> Page {
        let mut picked = Vec::new();
        let mut from = after;
        loop {
            let (block, dropped, last_seq) = {
                let lists = self.lists();
                let kept = lists.of(list);
                (kept.after(from, STRIDE), kept.dropped(), kept.last_seq())
            };
            let Some((newest, _)) = block.last() else {
                return Page { dropped, last_seq, entries: picked };
            };
            from = *newest;
            picked.extend(block.into_iter().filter(|(_, entry)| matches(&entry.asked)).map(View::new));
            if picked.len() >= limit {
                picked.truncate(limit);
                return Page { dropped, last_seq, entries: picked };
            }
        }
    }

    /// Accepted entries before number `before`, newest first, a stride of them.
    pub(crate) fn accepted_before(&self, before: u64) -> Vec<(u64, Arc<Entry>)> {
        self.lists().accepted.before(before, STRIDE)
    }

    /// How many were ever accepted, and how many of those are no longer kept.
    pub(crate) fn accepted_totals(&self) -> (u64, u64) {
        let lists = self.lists();
        (lists.accepted.last_seq(), lists.accepted.dropped())
    }

    fn note(&self, entry: Entry) {
        let entry = Arc::new(entry);
        let seq = self.lists().append(&entry);
        if let Some(journal) = &self.journal {
            journal
                .append(&Line::Request { accepted: entry.accepted.is_some(), view: View::new((seq, entry)) });
        }
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn of(&self, list: List) -> &Kept {
        match list {
            List::Asked => &self.asked,
            List::Accepted => &self.accepted,
        }
    }

    fn append(&mut self, entry: &Arc<Entry>) -> u64 {
        self.asked.push(Arc::clone(entry));
        if let Some(accepted) = &entry.accepted {
            self.by_sid.insert(accepted.sid.clone(), Arc::clone(accepted));
            let oldest = self.accepted.push(Arc::clone(entry));
            if let Some(gone) = oldest.as_ref().and_then(|entry| entry.accepted.as_ref()) {
                self.by_sid.remove(&gone.sid);
            }
        }
        self.asked.last_seq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Channel;

    #[test]
    fn a_long_list_is_looked_through_to_its_end() {
        let record = Record::new(10_000, None).unwrap();
        for number in 0..STRIDE * 2 + 500 {
            let path = if number % 100 == 0 { "/wanted" } else { "/" };
            record.asked(Asked::new("acme", Channel::Sms, "POST", path, "AC1"));
        }
        let page = record.after(List::Asked, 1, 10_000, |_| true);
        assert_eq!((page.entries.len(), page.last_seq), (2_499, 2_500));
        let page = record.after(List::Asked, 0, 10_000, |asked| asked.path == "/wanted");
        assert_eq!(page.entries.len(), 25);
        assert_eq!(record.after(List::Accepted, 0, 10, |_| true).last_seq, 0);
    }
}
