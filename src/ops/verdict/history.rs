//! The counts of the last hour, and the usual rates of the day before.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::group::GROUPS;
use super::{Cell, Counts, Group, Symptom, Tally};
use crate::ops::failures::FailureCount;

/// Number of intervals that are kept apart: an hour.
pub(super) const RECENT: usize = 360;
/// Number of intervals after which a count has lost most of its weight in the usual rates: a day.
const MEMORY: f64 = 8640.0;
/// Maximum number of cells. Further ones are counted in one cell of their channel, so that odd numbers cannot use up the memory.
const MAX_CELLS: usize = 4096;

/// The counts of a day. Cells and groups have numbers, in the order of their first count.
#[derive(Debug, Default)]
pub struct History {
    cells: HashMap<Cell, usize>,
    groups: Vec<Group>,
    group_numbers: HashMap<Group, usize>,
    /// The groups that hold each cell.
    groups_of: Vec<[usize; GROUPS]>,
    /// The counts of each cell before the recent ones. Older ones weigh less.
    usual: Vec<[(f64, f64); Symptom::ALL.len()]>,
    /// The counts of each interval, oldest first.
    recent: VecDeque<Vec<(usize, Counts)>>,
    /// The recent failures, with the carriers' error codes.
    failures: Vec<FailureCount>,
}

impl History {
    /// Adds the counts of one interval of 10 s.
    pub fn advance(&mut self, interval: impl IntoIterator<Item = (Cell, Counts)>) {
        let numbered = interval.into_iter().map(|(cell, counts)| (self.number(cell), counts)).collect();
        self.recent.push_back(numbered);
        if self.recent.len() <= RECENT {
            return;
        }
        let oldest = self.recent.pop_front().unwrap_or_default();
        for weighted in self.usual.iter_mut().flatten() {
            weighted.0 *= 1.0 - 1.0 / MEMORY;
            weighted.1 *= 1.0 - 1.0 / MEMORY;
        }
        for (cell, counts) in oldest {
            self.add_usual_counts(cell, &counts);
        }
    }

    /// Adds counts of a time before the recent intervals, such as those of a store after a restart.
    pub fn add_usual(&mut self, cell: Cell, counts: &Counts) {
        let cell = self.number(cell);
        self.add_usual_counts(cell, counts);
    }

    fn add_usual_counts(&mut self, cell: usize, counts: &Counts) {
        for (weighted, symptom) in self.usual[cell].iter_mut().zip(Symptom::ALL) {
            let Tally { all, failed } = counts.of(symptom);
            weighted.0 += all as f64;
            weighted.1 += failed as f64;
        }
    }

    /// Sets the recent failures.
    pub fn set_failures(&mut self, failures: Vec<FailureCount>) {
        self.failures = failures;
    }

    /// The error code that more than half of the recent failures of a group and a symptom have.
    pub(super) fn main_code(&self, group: &Group, symptom: Symptom) -> Option<&str> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for failure in self
            .failures
            .iter()
            .filter(|failure| group.holds_failure(failure) && symptom.is_shown_by(failure))
        {
            *counts.entry(&failure.code).or_default() += failure.count;
        }
        let all: u64 = counts.values().sum();
        counts.into_iter().find(|(code, count)| !code.is_empty() && 2 * count > all).map(|(code, _)| code)
    }

    fn number(&mut self, cell: Cell) -> usize {
        if let Some(number) = self.cells.get(&cell) {
            return *number;
        }
        let cell = if self.cells.len() < MAX_CELLS { cell } else { Cell::other(cell.channel) };
        if let Some(number) = self.cells.get(&cell) {
            return *number;
        }
        let groups = Group::of(&cell).map(|group| {
            *self.group_numbers.entry(group.clone()).or_insert_with(|| {
                self.groups.push(group);
                self.groups.len() - 1
            })
        });
        self.groups_of.push(groups);
        self.usual.push(Default::default());
        self.cells.insert(cell, self.usual.len() - 1);
        self.usual.len() - 1
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(super) fn groups_of(&self, cell: usize) -> &[usize; GROUPS] {
        &self.groups_of[cell]
    }

    pub(super) fn cell_count(&self) -> usize {
        self.usual.len()
    }

    /// Trials and failures of a cell before the recent intervals.
    pub(super) fn usual(&self, cell: usize, symptom: Symptom) -> (f64, f64) {
        self.usual[cell][symptom as usize]
    }

    /// The intervals, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &[(usize, Counts)]> {
        self.recent.iter().rev().map(Vec::as_slice)
    }
}
