//! The record of all requests and of accepted messages: append-only, bounded, numbered without gaps.

mod bounded_list;
mod entry;
mod journal;
mod view;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::callbacks::CallbackResult;
use crate::carrier_message::{CarrierMessage, Spoken};
use bounded_list::BoundedList;
use journal::{Journal, Line};

pub(crate) use entry::{Accepted, Answer, Entry, Progress, RequestRecord, clip};
pub(crate) use view::{Page, View};

/// Number of entries that are scanned per lock acquisition.
const BATCH_SIZE: usize = 1_000;

/// One of the two lists.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    Requests,
    Accepted,
}

/// The record.
pub(crate) struct Record {
    lists: Mutex<Lists>,
    journal: Option<Journal>,
}

struct Lists {
    requests: BoundedList,
    accepted: BoundedList,
    by_sid: HashMap<String, Arc<Accepted>>,
}

impl Record {
    pub(crate) fn new(cap: usize, file: Option<&Path>) -> io::Result<Self> {
        let journal = file.map(Journal::open).transpose()?;
        let lists = Lists {
            requests: BoundedList::new(cap),
            accepted: BoundedList::new(cap),
            by_sid: HashMap::new(),
        };
        Ok(Self { lists: Mutex::new(lists), journal })
    }

    /// Adds a request that was not accepted, or that only read a resource.
    pub(crate) fn add_request(&self, request: RequestRecord) {
        self.note(Entry { request, accepted: None });
    }

    /// Adds an accepted request. From now on `find` returns it.
    pub(crate) fn add_accepted(
        &self, mut request: RequestRecord, sid: &str, status: &'static str,
        message: impl CarrierMessage + 'static,
    ) -> Arc<Accepted> {
        request.sid = Some(sid.to_owned());
        let accepted = Arc::new(Accepted::new(
            sid,
            request.carrier,
            request.channel,
            request.at,
            status,
            Box::new(message),
        ));
        self.note(Entry { request, accepted: Some(Arc::clone(&accepted)) });
        accepted
    }

    /// Adds the result of a callback.
    pub(crate) fn add_callback(&self, accepted: &Accepted, result: CallbackResult) {
        if let Some(journal) = &self.journal {
            journal.append(&Line::Callback { sid: &accepted.sid, result: &result });
        }
        accepted.add_callback(result);
    }

    /// Adds what a call has said after a key was pressed.
    pub(crate) fn add_speech(&self, accepted: &Accepted, spoken: Spoken) {
        if let Some(journal) = &self.journal {
            journal.append(&Line::Speech { sid: &accepted.sid, transcript: &spoken.transcript });
        }
        accepted.add_speech(spoken);
    }

    /// Returns an accepted text or call by its sid.
    pub(crate) fn find(&self, sid: &str) -> Option<Arc<Accepted>> {
        self.lists().by_sid.get(sid).cloned()
    }

    /// Returns matching entries with a number above `after`, oldest first.
    pub(crate) fn after(
        &self, list: List, after: u64, limit: usize, matches: impl Fn(&RequestRecord) -> bool,
    ) -> Page {
        let mut picked = Vec::new();
        let mut from = after;
        loop {
            let (block, dropped, last_seq) = {
                let lists = self.lists();
                let kept = lists.of(list);
                (kept.after(from, BATCH_SIZE), kept.dropped(), kept.last_seq())
            };
            let Some((newest, _)) = block.last() else {
                return Page { dropped, last_seq, entries: picked };
            };
            from = *newest;
            picked.extend(block.into_iter().filter(|(_, entry)| matches(&entry.request)).map(View::new));
            if picked.len() >= limit {
                picked.truncate(limit);
                return Page { dropped, last_seq, entries: picked };
            }
        }
    }

    /// Returns one batch of accepted entries before number `before`, newest first.
    pub(crate) fn accepted_before(&self, before: u64) -> Vec<(u64, Arc<Entry>)> {
        self.lists().accepted.before(before, BATCH_SIZE)
    }

    /// Returns the number of all accepted entries, and how many of them are no longer kept.
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
    fn of(&self, list: List) -> &BoundedList {
        match list {
            List::Requests => &self.requests,
            List::Accepted => &self.accepted,
        }
    }

    fn append(&mut self, entry: &Arc<Entry>) -> u64 {
        self.requests.push(Arc::clone(entry));
        if let Some(accepted) = &entry.accepted {
            self.by_sid.insert(accepted.sid.clone(), Arc::clone(accepted));
            let oldest = self.accepted.push(Arc::clone(entry));
            if let Some(gone) = oldest.as_ref().and_then(|entry| entry.accepted.as_ref()) {
                self.by_sid.remove(&gone.sid);
            }
        }
        self.requests.last_seq()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Channel;

    #[test]
    fn a_long_list_is_searched_to_its_end() {
        let record = Record::new(10_000, None).unwrap();
        for number in 0..BATCH_SIZE * 2 + 500 {
            let path = if number % 100 == 0 { "/wanted" } else { "/" };
            record.add_request(RequestRecord::new("acme", Channel::Sms, "POST", path, "AC1"));
        }
        let page = record.after(List::Requests, 1, 10_000, |_| true);
        assert_eq!((page.entries.len(), page.last_seq), (2_499, 2_500));
        let page = record.after(List::Requests, 0, 10_000, |request| request.path == "/wanted");
        assert_eq!(page.entries.len(), 25);
        assert_eq!(record.after(List::Accepted, 0, 10, |_| true).last_seq, 0);
    }
}
