//! A bounded list that drops its oldest entries. Entry numbers do not change.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Entry;

/// The newest `cap` entries. The first entry ever has number 1.
pub(super) struct BoundedList {
    entries: VecDeque<Arc<Entry>>,
    dropped: u64,
    cap: usize,
}

impl BoundedList {
    pub(super) fn new(cap: usize) -> Self {
        Self { entries: VecDeque::new(), dropped: 0, cap: cap.max(1) }
    }

    /// Appends an entry and returns the dropped one.
    pub(super) fn push(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let gone = if self.entries.len() >= self.cap { self.entries.pop_front() } else { None };
        self.dropped += u64::from(gone.is_some());
        self.entries.push_back(entry);
        gone
    }

    /// Returns the number of dropped entries.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns the number of the newest entry, or 0 without one.
    pub(super) fn last_seq(&self) -> u64 {
        self.dropped + self.entries.len() as u64
    }

    /// Returns up to `limit` entries with numbers above `seq`, ascending.
    pub(super) fn after(&self, seq: u64, limit: usize) -> Vec<(u64, Arc<Entry>)> {
        let skip = seq.saturating_sub(self.dropped).min(self.entries.len() as u64) as usize;
        let first = self.dropped + skip as u64 + 1;
        (first..).zip(self.entries.range(skip..).take(limit).cloned()).collect()
    }

    /// Returns up to `limit` entries with numbers below `seq`, descending.
    pub(super) fn before(&self, seq: u64, limit: usize) -> Vec<(u64, Arc<Entry>)> {
        let end = seq.saturating_sub(self.dropped + 1).min(self.entries.len() as u64) as usize;
        let start = end.saturating_sub(limit);
        let first = self.dropped + start as u64 + 1;
        let mut block: Vec<_> = (first..).zip(self.entries.range(start..end).cloned()).collect();
        block.reverse();
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Channel;
    use crate::record::RequestRecord;

    const NONE: [u64; 0] = [];

    fn seqs(block: Vec<(u64, Arc<Entry>)>) -> Vec<u64> {
        block.into_iter().map(|(seq, _)| seq).collect()
    }

    fn five_of_cap_three() -> BoundedList {
        let mut list = BoundedList::new(3);
        for _ in 0..5 {
            let request = RequestRecord::new("acme", Channel::Sms, "POST", "/", "AC1");
            list.push(Arc::new(Entry { request, accepted: None }));
        }
        list
    }

    #[test]
    fn numbers_stay_when_the_oldest_entries_are_dropped() {
        let list = five_of_cap_three();
        assert_eq!((list.dropped(), list.last_seq()), (2, 5));
        assert_eq!(seqs(list.after(0, 10)), [3, 4, 5]);
        assert_eq!(seqs(list.after(3, 1)), [4]);
        assert_eq!(seqs(list.after(5, 10)), NONE);
        assert_eq!(seqs(list.after(u64::MAX, 10)), NONE);
    }

    #[test]
    fn reading_backwards_returns_the_newest_first() {
        let list = five_of_cap_three();
        assert_eq!(seqs(list.before(u64::MAX, 2)), [5, 4]);
        assert_eq!(seqs(list.before(4, 10)), [3]);
        assert_eq!(seqs(list.before(3, 10)), NONE);
        assert_eq!(seqs(list.before(0, 10)), NONE);
    }
}
