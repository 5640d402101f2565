//! The usual rates of the cells.

use super::Symptom;
use super::history::History;

/// The usual rate of a cell is drawn towards that of all cells as if this many trials of all cells belonged to it.
pub(super) const PRIOR_TRIALS: f64 = 30.0;
/// Assumed failure rate without any history.
const DEFAULT_RATE: f64 = 0.05;

/// The usual rate of each cell.
pub(super) fn rates(history: &History, symptom: Symptom) -> Vec<f64> {
    let shrunk =
        |(all, failed): (f64, f64), towards: f64| (failed + PRIOR_TRIALS * towards) / (all + PRIOR_TRIALS);
    let cells = || (0..history.cell_count()).map(|cell| history.usual(cell, symptom));
    let all = cells().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
    let of_all = shrunk(all, DEFAULT_RATE);
    cells().map(|cell| shrunk(cell, of_all)).collect()
}
