//! Finds the group of cells that explains failures: a scan statistic (M. Kulldorff, "A spatial scan statistic", 1997).
//!
//! For each symptom, group and window it compares the failures with the usual ones. The measure is the logarithm of the likelihood ratio
//! of two models: in the group the present rate holds, or the usual one. A group that is too large includes cells without failures, and
//! one that is too small leaves failures out; both have a smaller measure than the true one.

use super::found::Found;
use super::history::History;
use super::sum::Sum;
use super::{Counts, Symptom, usual};

/// The windows, in intervals: from 10 s to an hour.
const WINDOWS: [usize; 11] = [1, 2, 3, 6, 12, 18, 30, 60, 120, 180, 360];
/// Below this measure a finding may be chance. It allows for the number of groups, windows and looks of a week.
const MIN_CERTAINTY: f64 = 18.0;
/// Each dimension of a group raises the measure that a finding needs, because there are more such groups.
const DIMENSION_COST: f64 = 1.0;
/// What a further dimension costs in the comparison of groups. Of two groups that explain almost as much, the simpler one is named.
const COMPARED_COST: f64 = 3.0;

/// The counts of each cell in each window.
struct Windows(Vec<Vec<Counts>>);

impl Windows {
    fn of(history: &History) -> Self {
        let mut intervals = history.newest_first();
        let mut sum = vec![Counts::default(); history.cell_count()];
        let mut windows = vec![];
        let mut taken = 0;
        for window in WINDOWS {
            let before = taken;
            for interval in intervals.by_ref().take(window - before) {
                taken += 1;
                for (cell, counts) in interval {
                    sum[*cell].add(counts);
                }
            }
            if taken > before {
                windows.push(sum.clone());
            }
        }
        Self(windows)
    }
}

/// Returns the findings that last, the most certain first. A cell counts for one finding only, of the earliest symptom in [`Symptom::ALL`].
pub(super) fn scan(history: &History) -> Vec<Found> {
    let windows = Windows::of(history);
    let mut found: Vec<Found> = vec![];
    // The cells of a finding explain no later symptom: what is refused is not late.
    let mut is_explained = vec![false; history.cell_count()];
    for symptom in Symptom::ALL {
        let usual = usual::rates(history, symptom);
        // Two groups may fail at the same time for different reasons.
        for _ in 0..2 {
            let Some((group, certainty)) = best(history, &windows, symptom, &usual, &is_explained) else {
                break;
            };
            let explanation = Found::new(history, group, symptom, certainty, &usual, &is_explained);
            found.extend(Some(explanation).filter(|found| found.lasts));
            for (cell, explained) in is_explained.iter_mut().enumerate() {
                *explained |= history.groups_of(cell).contains(&group);
            }
        }
    }
    found.sort_by(|a, b| b.certainty.total_cmp(&a.certainty));
    found
}

/// Returns the number of the group that explains a symptom best, and its certainty.
fn best(
    history: &History, windows: &Windows, symptom: Symptom, usual: &[f64], is_explained: &[bool],
) -> Option<(usize, f64)> {
    let mut best: Option<(f64, usize, f64)> = None;
    for counts in &windows.0 {
        let mut groups = vec![Sum::default(); history.groups().len()];
        for (cell, counts) in counts.iter().enumerate().filter(|(cell, _)| !is_explained[*cell]) {
            let tally = counts.of(symptom);
            if tally.all == 0 {
                continue;
            }
            for group in history.groups_of(cell) {
                groups[*group].add(tally, usual[cell]);
            }
        }
        for (number, sum) in groups.into_iter().enumerate().filter(|(_, sum)| sum.is_risen(symptom)) {
            let group = &history.groups()[number];
            let (certainty, dimensions) = (sum.certainty(), group.dimensions() as f64);
            let measure = certainty - COMPARED_COST * dimensions;
            let is_certain = certainty >= MIN_CERTAINTY + DIMENSION_COST * dimensions;
            if group.is_named() && is_certain && best.is_none_or(|(greatest, ..)| measure > greatest) {
                best = Some((measure, number, certainty));
            }
        }
    }
    best.map(|(_, number, certainty)| (number, certainty))
}
