//! The verdict: what is wrong with delivery now, in sentences.
//!
//! Comes in: counts of the last hour by cell, the usual rates, and the state of otpost's own parts. Goes out: findings, the most certain
//! first. Pure: nothing here reads a clock or a store.
//!
//! A finding is a symptom (texts are refused, undelivered, late …) that a group of cells shows and the others do not. `scan` finds the
//! group that explains the failures best, `found` says what is known about it, and `sentence` puts it into words.

mod found;
mod group;
mod history;
mod reading;
mod scan;
mod sentence;
#[cfg(test)]
mod simulation;
mod sum;
#[cfg(test)]
mod tests;
mod usual;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::delivery_cell::Cell;
use crate::ops::failures::FailureCount;
pub use group::Group;
pub use history::History;

/// What can go wrong, in the order in which one explains the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symptom {
    /// The carrier did not accept requests.
    Refused,
    /// A receipt says that the message will not arrive.
    Undelivered,
    /// No receipt came within a minute.
    NoReceipt,
    /// A delivered message needed more than 30 s.
    Late,
    /// A delivered code was not reported as verified within five minutes.
    Unverified,
}

impl Symptom {
    /// All symptoms.
    pub const ALL: [Self; 5] =
        [Self::Refused, Self::Undelivered, Self::NoReceipt, Self::Late, Self::Unverified];

    /// Whether a kind of failure belongs to the symptom.
    fn is_shown_by(self, failure: &FailureCount) -> bool {
        match self {
            Self::Refused => !failure.is_undelivered(),
            Self::Undelivered => failure.is_undelivered(),
            Self::NoReceipt | Self::Late | Self::Unverified => false,
        }
    }

    /// The symptom as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Undelivered => "undelivered",
            Self::NoReceipt => "no_receipt",
            Self::Late => "late",
            Self::Unverified => "unverified",
        }
    }
}

/// How often something happened, and how often it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// The number of trials.
    pub all: u64,
    /// The number of failed ones.
    pub failed: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.failed += other.failed;
    }

    /// The part that failed; zero without trials.
    pub fn rate(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.failed as f64 / self.all as f64 }
    }
}

/// The tallies of a cell, by symptom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([Tally; Symptom::ALL.len()]);

impl Counts {
    /// The tally of a symptom.
    pub fn of(&self, symptom: Symptom) -> Tally {
        self.0[symptom as usize]
    }

    /// Adds trials of which some failed.
    pub fn count(&mut self, symptom: Symptom, tally: Tally) {
        self.0[symptom as usize].add(tally);
    }

    /// Adds the tallies of another.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            mine.add(theirs);
        }
    }
}

/// What in otpost can be wrong: one of its parts, or what operators have set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The ledger does not answer, or refuses writes.
    Ledger,
    /// The ledger answers slowly.
    SlowLedger,
    /// RabbitMQ does not answer.
    Broker,
    /// No worker runs.
    Workers,
    /// Many jobs wait in `otpost.dispatch`, jobs are old when they arrive, or due dispatches are late.
    Queue,
    /// A process has ended without an orderly stop.
    Process,
    /// Operators have paused all carriers of a channel.
    Carriers,
    /// Requests to carriers have stopped.
    Traffic,
    /// The clock of a machine is wrong.
    Clock,
}

impl Part {
    /// The part as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::SlowLedger => "slow_ledger",
            Self::Broker => "broker",
            Self::Workers => "workers",
            Self::Queue => "queue",
            Self::Process => "process",
            Self::Carriers => "carriers",
            Self::Traffic => "traffic",
            Self::Clock => "clock",
        }
    }
}

/// A problem of otpost itself, or one that operators have caused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnProblem {
    /// The part.
    pub part: Part,
    /// Since when.
    pub since: Timestamp,
    /// The problem, such as `1000 jobs wait in otpost.dispatch`.
    pub what: String,
}

/// What explains a symptom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A part of otpost.
    Own(Part),
    /// The cells with these values.
    Cells(Group),
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What explains it.
    pub cause: Cause,
    /// The symptom. `None` for a problem of otpost itself.
    pub symptom: Option<Symptom>,
    /// Since when.
    pub since: Timestamp,
    /// How certain it is: the logarithm of the likelihood ratio between this finding and the usual rates.
    pub certainty: f64,
    /// The sentences: what is wrong, and what to do.
    pub text: String,
}

/// Returns what is wrong, the most certain first. Problems of otpost itself come before all others, because they may cause them.
pub fn verdict(history: &History, own: &[OwnProblem], now: Timestamp) -> Vec<Finding> {
    let own = own.iter().map(|problem| Finding {
        cause: Cause::Own(problem.part),
        symptom: None,
        since: problem.since,
        certainty: f64::INFINITY,
        text: sentence::of_own(problem, now),
    });
    let mut findings: Vec<Finding> = own.collect();
    findings.extend(scan::scan(history).into_iter().map(|found| Finding {
        since: now.saturating_sub(found.since).unwrap_or(now),
        certainty: found.certainty,
        text: sentence::of_cells(&found, history.main_code(&found.group, found.symptom), now),
        symptom: Some(found.symptom),
        cause: Cause::Cells(found.named_group()),
    }));
    findings
}
