//! The problems of otpost itself, from the reports of its processes.

use std::collections::BTreeMap;

use super::{Input, SeenReport};
use crate::domain::clock::between;
use crate::ops::verdict::{OwnProblem, Part};

/// Returns the problems of otpost itself, each part once.
pub(super) fn own(input: &Input) -> Vec<OwnProblem> {
    let mut problems: BTreeMap<Part, OwnProblem> = BTreeMap::new();
    let alive = input.reports.iter().filter(|process| process.is_alive(input.now));
    for problem in alive.flat_map(|process| &process.report.problems) {
        let known = problems.entry(problem.part).or_insert_with(|| problem.clone());
        known.since = known.since.min(problem.since);
    }
    if let Some(problem) = &input.ledger_problem {
        // Without the ledger nothing new is known about the others.
        problems.clear();
        problems.insert(Part::Ledger, problem.clone());
    } else if let Some(problem) = no_worker(input) {
        problems.insert(Part::Workers, problem);
    }
    problems.into_values().collect()
}

/// The problem that no worker runs, although some process does.
fn no_worker(input: &Input) -> Option<OwnProblem> {
    let workers = || input.reports.iter().filter(|process| process.has_role("worker"));
    if workers().any(|worker| worker.is_alive(input.now)) {
        return None;
    }
    let started = |process: &SeenReport| process.report.started_at;
    let first_start =
        input.reports.iter().filter(|process| process.is_alive(input.now)).map(started).min()?;
    let since = workers().map(|worker| worker.seen_at).max().unwrap_or(first_start);
    let what = match between(since, input.now).as_secs() {
        // The deployment is starting, or its last worker is restarting.
        seconds if seconds < 30 => return None,
        seconds => format!("none has reported for {seconds} s"),
    };
    Some(OwnProblem { part: Part::Workers, since, what })
}
