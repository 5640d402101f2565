//! What there is to say about a group that fails: since when, how often, how often otherwise, and how the others do.

use std::time::Duration;

use super::history::History;
use super::sum::Sum;
use super::usual::PRIOR_TRIALS;
use super::{Counts, Group, Symptom, Tally};
use crate::domain::delivery_cell::OTHER;
use crate::domain::delivery_count::INTERVAL;

/// A finding states the rate of this number of intervals: five minutes. The windows of the scan change from one look to the next.
const SHOWN: usize = 30;
/// It states that of more intervals if these have fewer trials.
const MIN_SHOWN: u64 = 20;

/// A group that fails.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// The group that the scan found.
    pub(super) group: Group,
    /// The only carrier of the group's messages, if the group names none. It may be the cause, or not: there is no other to compare.
    pub(super) only_carrier: Option<String>,
    pub(super) symptom: Symptom,
    /// The time for which the group has failed.
    pub(super) since: Duration,
    pub(super) certainty: f64,
    /// The newest trials of the group.
    pub(super) tally: Tally,
    /// The usual rate of the group. `None` with too little history.
    pub(super) usual: Option<f64>,
    /// Whether the newest trials are still worse than usual.
    pub(super) lasts: bool,
    /// The trials of the other cells at the same time, and their usual rate.
    pub(super) others: Tally,
    pub(super) others_usual: f64,
}

impl Found {
    pub(super) fn new(
        history: &History, group: usize, symptom: Symptom, certainty: f64, usual: &[f64],
        is_explained: &[bool],
    ) -> Self {
        let is_of_group = |cell: usize| history.groups_of(cell).contains(&group);
        let sums: Vec<(Sum, Sum)> = history
            .newest_first()
            .map(|interval| {
                let (mut own, mut others) = (Sum::default(), Sum::default());
                for (cell, counts) in interval.iter().filter(|(cell, _)| !is_explained[*cell]) {
                    let sum = if is_of_group(*cell) { &mut own } else { &mut others };
                    sum.add(counts.of(symptom), usual[*cell]);
                }
                (own, others)
            })
            .collect();
        let intervals = intervals_since(sums.iter().map(|(own, _)| *own), symptom).max(1);
        let (own, others) = newest(&sums[..intervals.min(sums.len())]);
        let cells = (0..history.cell_count()).filter(|cell| is_of_group(*cell) && !is_explained[*cell]);
        let trials: f64 = cells.map(|cell| history.usual(cell, symptom).0).sum();
        let only_carrier = only_carrier(history, group, symptom, intervals);
        let group = history.groups()[group].clone();
        Self {
            // Of a tenant that fails alone, the carrier is not the cause.
            only_carrier: only_carrier.filter(|_| group.carrier.is_none() && group.tenant.is_none()),
            group,
            symptom,
            since: INTERVAL * u32::try_from(intervals).unwrap_or(u32::MAX),
            certainty,
            tally: own.tally,
            usual: (trials >= PRIOR_TRIALS).then(|| own.usual()),
            lasts: own.has_risen_rate(symptom),
            others: others.tally,
            others_usual: others.usual(),
        }
    }

    /// The group with its only carrier.
    pub(super) fn named_group(&self) -> Group {
        let carrier = self.group.carrier.clone().or_else(|| self.only_carrier.clone());
        Group { carrier, ..self.group.clone() }
    }
}

/// The number of intervals, from now back, for which the failures of a group are most certain: since then it fails.
fn intervals_since(newest_first: impl Iterator<Item = Sum>, symptom: Symptom) -> usize {
    let (mut sum, mut best) = (Sum::default(), (0.0, 0));
    for (n, interval) in newest_first.enumerate() {
        sum.join(interval);
        let certainty = sum.certainty();
        if sum.is_risen(symptom) && certainty > best.0 {
            best = (certainty, n + 1);
        }
    }
    best.1
}

/// The newest trials of a group and of the others. Intervals that cannot show the symptom yet are left out.
fn newest(sums: &[(Sum, Sum)]) -> (Sum, Sum) {
    let (mut own, mut others) = (Sum::default(), Sum::default());
    let showing = sums.iter().skip_while(|(own, _)| own.tally.all == 0);
    for (n, (of_group, of_others)) in showing.enumerate() {
        if n >= SHOWN && own.tally.all >= MIN_SHOWN {
            break;
        }
        own.join(*of_group);
        others.join(*of_others);
    }
    (own, others)
}

/// The carrier of all trials of a group in these intervals. `None` if there are several, or if its name is not known.
fn only_carrier(history: &History, group: usize, symptom: Symptom, intervals: usize) -> Option<String> {
    let shows = |(cell, counts): &&(usize, Counts)| {
        history.groups_of(*cell).contains(&group) && counts.of(symptom).all > 0
    };
    let cells = history.newest_first().take(intervals).flat_map(|interval| interval.iter().filter(shows));
    let mut carriers = cells.filter_map(|(cell, _)| {
        history.groups_of(*cell).iter().find_map(|group| history.groups()[*group].carrier.as_deref())
    });
    let first = carriers.next()?;
    (first != OTHER && carriers.all(|carrier| carrier == first)).then(|| first.to_owned())
}
