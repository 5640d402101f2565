//! A list that forgets its oldest entries when it is full, and whose numbers stay what they were.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Entry;

/// The newest `cap` entries. The first entry ever has number 1.
pub(super) struct Kept {
    entries: VecDeque<Arc<Entry>>,
    dropped: u64,
    cap: usize,
}

impl Kept {
    pub(super) fn new(cap: usize) -> Self {
        Self { entries: VecDeque::new(), dropped: 0, cap: cap.max(1) }
    }

    /// Append; the entry that had to go for it is returned.
    pub(super) fn push(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let gone = if self.entries.len() >= self.cap { self.entries.pop_front() } else { None };
        self.dropped += u64::from(gone.is_some());
        self.entries.push_back(entry);
        gone
    }

    /// How many were forgotten.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The number of the newest entry, 0 if there never was one.
    pub(super) fn last_seq(&self) -> u64 {
        self.dropped + self.entries.len() as u64
    }

    /// Up to `limit` entries with numbers above `seq`, ascending.
    pub(super) fn after(&self, seq: u64, limit: usize) -> Vec<(u64, Arc<Entry>)> {
        let skip = seq.saturating_sub(self.dropped).min(self.entries.len() as u64) as usize;
        let first = self.dropped + skip as u64 + 1;
        (first..).zip(self.entries.range(skip..).take(limit).cloned()).collect()
    }

    /// Up to `limit` entries with numbers below `seq`, descending.
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
    use crate::record::Asked;

    const NONE: [u64; 0] = [];

    fn seqs(block: Vec<(u64, Arc<Entry>)>) -> Vec<u64> {
        block.into_iter().map(|(seq, _)| seq).collect()
    }

    fn five_of_cap_three() -> Kept {
        let mut kept = Kept::new(3);
        for _ in 0..5 {
            let asked = Asked::new("acme", Channel::Sms, "POST", "/", "AC1");
            kept.push(Arc::new(Entry { asked, accepted: None }));
        }
        kept
    }

    #[test]
    fn numbers_stay_when_the_oldest_entries_go() {
        let kept = five_of_cap_three();
        assert_eq!((kept.dropped(), kept.last_seq()), (2, 5));
        assert_eq!(seqs(kept.after(0, 10)), [3, 4, 5]);
        assert_eq!(seqs(kept.after(3, 1)), [4]);
        assert_eq!(seqs(kept.after(5, 10)), NONE);
        assert_eq!(seqs(kept.after(u64::MAX, 10)), NONE);
    }

    #[test]
    fn the_newest_come_first_when_read_backwards() {
        let kept = five_of_cap_three();
        assert_eq!(seqs(kept.before(u64::MAX, 2)), [5, 4]);
        assert_eq!(seqs(kept.before(4, 10)), [3]);
        assert_eq!(seqs(kept.before(3, 10)), NONE);
        assert_eq!(seqs(kept.before(0, 10)), NONE);
    }
}
