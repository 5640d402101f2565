//! Acknowledgement bookkeeping of one channel. It sends few acks, and never one for a delivery that is still being processed.

use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// It is acknowledged.
    Ack,
    /// It returns to its queue.
    Requeue,
}

/// What becomes of the delivery with this tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settlement {
    pub(super) tag: u64,
    pub(super) verb: Verb,
}

/// One `basic.ack` to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) tag: u64,
    /// Also acknowledges every lower open tag.
    pub(super) multiple: bool,
}

/// The deliveries of one channel. RabbitMQ numbers their tags from 1.
#[derive(Debug)]
pub(super) struct AckTracker {
    /// The lowest unsettled tag.
    lowest: u64,
    /// Settled tags above `lowest`.
    settled: BTreeSet<u64>,
    /// The highest delivered tag.
    highest: u64,
}

impl AckTracker {
    pub(super) fn new() -> Self {
        Self { lowest: 1, settled: BTreeSet::new(), highest: 0 }
    }

    pub(super) fn delivered(&mut self, tag: u64) {
        self.highest = self.highest.max(tag);
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Number of unsettled deliveries with a tag of at most `tag`.
    pub(super) fn held_up_to(&self, tag: u64) -> usize {
        if tag < self.lowest {
            return 0;
        }
        let settled = self.settled.range(..=tag).count();
        usize::try_from(tag + 1 - self.lowest).unwrap_or(usize::MAX).saturating_sub(settled)
    }

    /// Settles these tags and returns the acks to send. A run that begins at the lowest unsettled tag becomes one ack with
    /// `multiple`. Every other tag gets its own ack.
    ///
    /// Tags that are not open are skipped, because RabbitMQ closes the channel when a tag is acknowledged twice.
    pub(super) fn settle(&mut self, tags: &mut [u64]) -> Vec<Ack> {
        tags.sort_unstable();
        let mut acks: Vec<Ack> = vec![];
        let mut run = 0; // Length of the run, which is at the front of `acks`.
        for &tag in &*tags {
            if tag > self.highest || tag < self.lowest || !self.settled.insert(tag) {
                continue;
            }
            acks.push(Ack { tag, multiple: false });
            while self.settled.remove(&self.lowest) {
                self.lowest += 1;
            }
            if tag < self.lowest {
                run = acks.len();
            }
        }
        if run > 1 {
            // `multiple` also covers tags in between that were acknowledged before. RabbitMQ accepts that.
            acks.drain(..run - 1);
            acks[0].multiple = true;
        }
        acks
    }

    /// Settles the run of tags that begins at the lowest unsettled one, and removes it from `settlements`. Returns one frame for each
    /// part of the run with the same verb. Send each with `multiple`, in this order.
    pub(super) fn settle_run(&mut self, settlements: &mut BTreeMap<u64, Verb>) -> Vec<Settlement> {
        let mut frames: Vec<Settlement> = vec![];
        loop {
            let tag = self.lowest;
            if !self.settled.remove(&tag) {
                let Some(verb) = settlements.remove(&tag) else { return frames };
                match frames.last_mut() {
                    Some(last) if last.verb == verb => last.tag = tag,
                    _ => frames.push(Settlement { tag, verb }),
                }
            }
            self.lowest += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::{Ack, AckTracker, Settlement, Verb};

    fn book(delivered: u64) -> AckTracker {
        let mut book = AckTracker::new();
        book.delivered(delivered);
        book
    }

    #[test]
    fn what_is_settled_in_order_takes_one_ack_and_what_is_not_takes_its_own() {
        let mut book = book(10);
        assert_eq!(book.settle(&mut [3, 1, 2]), [Ack { tag: 3, multiple: true }]);
        assert_eq!(
            book.settle(&mut [6, 5]),
            [Ack { tag: 5, multiple: false }, Ack { tag: 6, multiple: false }]
        );
        assert_eq!(book.held_up_to(10), 5);
        assert_eq!(book.settle(&mut [4]), [Ack { tag: 4, multiple: false }]);
        assert_eq!(book.held_up_to(6), 0);
        assert_eq!(
            book.settle(&mut [7, 8, 10]),
            [Ack { tag: 8, multiple: true }, Ack { tag: 10, multiple: false }]
        );
        assert_eq!(book.settle(&mut [8, 10, 11]), []);
    }

    #[test]
    fn a_run_of_acks_and_requeues_takes_one_frame_for_each_part() {
        let mut book = book(9);
        assert_eq!(book.settle(&mut [3]), [Ack { tag: 3, multiple: false }]);
        let (ack, requeue) = (Verb::Ack, Verb::Requeue);
        let mut settlements =
            BTreeMap::from([(2, ack), (4, ack), (5, requeue), (6, requeue), (7, ack), (9, ack)]);
        assert_eq!(book.settle_run(&mut settlements), [], "the first is open");
        settlements.insert(1, ack);
        let frames = [(4, ack), (6, requeue), (7, ack)].map(|(tag, verb)| Settlement { tag, verb });
        assert_eq!(book.settle_run(&mut settlements), frames);
        assert_eq!((settlements, book.held_up_to(9)), (BTreeMap::from([(9, ack)]), 2));
    }

    proptest! {
        /// Simulates RabbitMQ, which closes the channel on an ack for a tag that is not open.
        #[test]
        fn every_settled_tag_is_acked_once_and_no_other_is_ever_covered(
            order in Just((1_u64..=60).collect::<Vec<_>>()).prop_shuffle(),
            cuts in prop::collection::vec(0_usize..=45, 0..12),
        ) {
            let mut book = book(60);
            let mut open: BTreeSet<u64> = (1..=60).collect();
            let mut settled = BTreeSet::new();
            let mut cuts = cuts;
            cuts.push(45); // fifteen tags are never settled
            cuts.sort_unstable();
            let mut from = 0;
            for cut in cuts {
                let mut batch = order[from..cut].to_vec();
                settled.extend(batch.iter().copied());
                from = cut;
                let acks = book.settle(&mut batch);
                prop_assert!(acks.len() <= batch.len());
                for Ack { tag, multiple } in acks {
                    prop_assert!(open.contains(&tag), "tag {} is not open", tag);
                    let covered: Vec<u64> = if multiple { open.range(..=tag).copied().collect() } else { vec![tag] };
                    for tag in covered {
                        prop_assert!(settled.contains(&tag), "{} was not settled", tag);
                        open.remove(&tag);
                    }
                }
                let unsettled: BTreeSet<u64> = (1..=60).filter(|t| !settled.contains(t)).collect();
                prop_assert_eq!(&open, &unsettled);
                prop_assert_eq!(book.held_up_to(60), open.len());
                prop_assert_eq!(book.held_up_to(30), open.range(..=30).count());
            }
        }
    }
}
