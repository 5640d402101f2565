//! The problems of otpost itself, from the reports of its processes.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use jiff::Timestamp;

use super::{Input, SeenReport};
use crate::domain::clock::{after, between};
use crate::domain::delivery_count::{CountRow, Counted, INTERVAL};
use crate::ops::report::Report;
use crate::ops::verdict::{OwnProblem, Part};

/// How long a process that has ended is a problem.
const ENDED_FOR: Duration = Duration::from_secs(10 * 60);
/// A process that started at most this long before the end of another one may be its replacement.
const START_OVERLAP: Duration = Duration::from_secs(30);
/// A shorter time without a request is not reported.
const MIN_SILENCE: Duration = Duration::from_secs(5 * 60);
/// The time before a silence whose rate of requests is the expected one. Each of its minutes must have requests.
const BEFORE_SILENCE: Duration = Duration::from_secs(15 * 60);
/// Minimum number of expected requests during a silence. With fewer, the silence may be chance.
const MIN_EXPECTED: f64 = 50.0;

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
    } else if let Some(problem) = ended(input) {
        problems.insert(Part::Process, problem);
    } else if problems.keys().all(|part| *part == Part::Carriers)
        && let Some(problem) = silence(&input.rows, input.now)
    {
        // Only without a problem that would explain the silence. A pause may concern one small country.
        problems.insert(Part::Traffic, problem);
    }
    problems.into_values().collect()
}

/// Returns the problem that requests to carriers have stopped, although they were frequent and steady. Older counts have no short
/// intervals, so a silence is reported for about an hour. A longer one is probably intended.
pub(super) fn silence(rows: &[CountRow], now: Timestamp) -> Option<OwnProblem> {
    let width = INTERVAL.as_secs() as u32;
    let busy = || rows.iter().filter(|row| row.width_s == width && row.counts.of(Counted::Attempts) > 0);
    let since = after(busy().map(|row| row.started_at).max()?, INTERVAL);
    let silent = between(since, now);
    if silent < MIN_SILENCE {
        return None;
    }
    let minutes = BEFORE_SILENCE.as_secs() / 60;
    let (mut requests, mut busy_minutes) = (0, BTreeSet::new());
    for row in busy() {
        let before = between(row.started_at, since);
        if before <= BEFORE_SILENCE {
            requests += row.counts.of(Counted::Attempts);
            // The newest interval begins 10 s before the silence.
            busy_minutes.insert(before.saturating_sub(INTERVAL).as_secs() / 60);
        }
    }
    let per_minute = requests as f64 / minutes as f64;
    let expected = per_minute * silent.as_secs_f64() / 60.0;
    if (busy_minutes.len() as u64) < minutes || expected < MIN_EXPECTED {
        return None;
    }
    let what = format!("no request to a carrier, after {per_minute:.0} a minute");
    Some(OwnProblem { part: Part::Traffic, since, what })
}

/// The problem that a process has ended without an orderly stop, and no other one has started in its place.
fn ended(input: &Input) -> Option<OwnProblem> {
    // After an outage of the ledger all reports are old for some seconds.
    if input.outage.is_some_and(|(_, ended)| between(ended, input.now) < START_OVERLAP) {
        return None;
    }
    let is_replaced = |gone: &SeenReport| {
        input.reports.iter().any(|other| {
            other.is_alive(input.now)
                && other.report.roles == gone.report.roles
                && after(other.report.started_at, START_OVERLAP) >= gone.seen_at
        })
    };
    let is_recent = |gone: &SeenReport| between(gone.seen_at, input.now) < ENDED_FOR;
    let mut gone = input.reports.iter().filter(|process| {
        !process.is_alive(input.now)
            && !process.report.is_stopped
            && is_recent(process)
            && !is_replaced(process)
    });
    let first = gone.next()?;
    let more = match gone.count() {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    let Report { roles, host, ops, .. } = &first.report;
    let what = format!("{} on {host} ({ops}) ended without an orderly stop{more}", roles.join(", "));
    Some(OwnProblem { part: Part::Process, since: first.seen_at, what })
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
