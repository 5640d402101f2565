//! The status of a deployment: whether codes arrive, and what its processes do.
//!
//! Comes in: the counts of a day and the reports of the processes, from a [`Source`]. Goes out: numbers by carrier, country and
//! tenant, and the verdict. Pure, except for the source.

mod problems;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::failures::FailureCount;
use super::report::{GONE_AFTER, OpenBreaker, Report};
use super::verdict::{Finding, Group, History, OwnProblem, verdict};
use crate::domain::clock::{after, between};
use crate::domain::delivery_count::{CountRow, Counted, DeliveryCounts, RECEIPT_WAIT, interval_start};

/// Period of the recent numbers.
pub const RECENT: Duration = Duration::from_secs(15 * 60);
/// Period of the other numbers.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// The width of a point of the history.
pub const POINT: Duration = Duration::from_secs(600);

/// Maximum number of findings.
const MAX_FINDINGS: usize = 3;
/// Maximum number of processes that are gone and still listed.
const MAX_GONE: usize = 5;

/// The input of a status.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The time, by the ledger's clock.
    pub now: Timestamp,
    /// The counts of the last day.
    pub rows: Vec<CountRow>,
    /// The reports of the processes.
    pub reports: Vec<SeenReport>,
    /// The carriers that operators have paused.
    pub pauses: Vec<PausedCarrier>,
    /// The last outage of the ledger: begin and end. Receipts of that time were recorded late.
    pub outage: Option<(Timestamp, Timestamp)>,
    /// Why the ledger does not answer. The other values are then those of the last answer.
    pub ledger_problem: Option<OwnProblem>,
}

impl Input {
    /// The open circuit breakers of all living workers, each once, also those of paused carriers.
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        let alive = self.reports.iter().filter(|process| process.is_alive(self.now));
        once(alive.flat_map(|process| &process.report.breakers).collect())
    }

    /// Whether an operator has paused a carrier in a country: everywhere, or there. `None`: in all countries.
    fn is_paused(&self, carrier: &str, country: Option<&str>) -> bool {
        self.pauses.iter().any(|pause| {
            pause.carrier == carrier && (pause.country.is_none() || pause.country.as_deref() == country)
        })
    }
}

/// A carrier that an operator has paused, everywhere or in one country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedCarrier {
    /// The configured name.
    pub carrier: String,
    /// The country. `None`: everywhere.
    pub country: Option<String>,
    /// Why.
    pub reason: String,
    /// The id of the operator's API key.
    pub by: String,
    /// When the pause ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// The report of a process, and when it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenReport {
    /// The name of the process.
    pub name: String,
    /// When the report was made, by the ledger's clock.
    pub seen_at: Timestamp,
    /// The report.
    pub report: Report,
}

impl SeenReport {
    /// Whether the process still reports.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        !self.report.is_stopped && between(self.seen_at, now) <= GONE_AFTER
    }

    fn has_role(&self, role: &str) -> bool {
        self.report.roles.iter().any(|own| own == role)
    }
}

/// An input, and the verdict on it. Many viewers share one.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The input.
    pub input: Input,
    /// The findings of the verdict.
    pub findings: Vec<Finding>,
}

impl Snapshot {
    /// Computes the verdict. It takes some milliseconds for each hundred thousand counts.
    pub fn new(input: Input) -> Self {
        let findings = findings(&input);
        Self { input, findings }
    }
}

/// A dispatch whose message did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDispatch {
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// Its tenant.
    pub tenant: String,
    /// The sender's id.
    pub id: Uuid,
    /// The masked number.
    pub mask: String,
    /// The configured carrier of the last attempt.
    pub carrier: String,
    /// The state and its reason.
    pub what: String,
    /// The carrier's error code.
    pub code: Option<String>,
}

/// What happened to a dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchHistory {
    /// The sender's id.
    pub id: Uuid,
    /// Its tenant.
    pub tenant: String,
    /// The masked number.
    pub mask: String,
    /// The country of the number.
    pub country: Option<String>,
    /// The state and its reason.
    pub what: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// What happened and what follows, each with the time since the admission.
    pub lines: Vec<(String, String)>,
}

/// Reads what a status is made from.
#[async_trait]
pub trait Source: Send + Sync {
    /// The newest snapshot.
    async fn snapshot(&self) -> Arc<Snapshot>;
    /// The latest dispatches of a group whose messages did not arrive. Empty if the ledger does not answer.
    async fn failed(&self, group: &Group) -> Vec<FailedDispatch>;
    /// What happened to a dispatch. `None` if it is not known, or if the ledger does not answer.
    async fn dispatch(&self, tenant: &str, id: Uuid) -> Option<DispatchHistory>;
}

/// The counts of the last 15 minutes and of the last day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// The counts of the last 15 minutes.
    pub recent: DeliveryCounts,
    /// The counts of the last day.
    pub day: DeliveryCounts,
}

impl Numbers {
    fn add(&mut self, counts: &DeliveryCounts, is_recent: bool) {
        self.day.add_all(counts);
        if is_recent {
            self.recent.add_all(counts);
        }
    }
}

/// The status of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// When it was read.
    pub at: Timestamp,
    /// The findings of the verdict: problems of otpost itself first, then the most certain ones. Empty: codes arrive as usual.
    pub findings: Vec<Finding>,
    /// Whether nothing was sent during the last 15 minutes, whatever the filter.
    pub is_quiet: bool,
    /// The numbers of all cells of the filter.
    pub all: Numbers,
    /// The numbers by channel, carrier, country and tenant, those with the most attempts of the last day first.
    pub by: BTreeMap<Dimension, Vec<(String, Numbers)>>,
    /// The most frequent failures of the last five to ten minutes. Empty with a filter for a tenant: they are not counted by tenant.
    pub failures: Vec<FailureCount>,
    /// The counts of a day in points of ten minutes, oldest first.
    pub history: Vec<(Timestamp, DeliveryCounts)>,
    /// The living processes, and the last ones that are gone.
    pub processes: Vec<SeenReport>,
    /// Messages in each queue of otpost. Empty without RabbitMQ.
    pub queues: BTreeMap<String, u32>,
    /// When the dispatch that has been due longest became due. `None` if none is due.
    pub oldest_due: Option<Timestamp>,
    /// The open circuit breakers of all workers, each once.
    pub breakers: Vec<OpenBreaker>,
    /// The carriers that operators have paused.
    pub pauses: Vec<PausedCarrier>,
}

/// Dimension by which the numbers are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// The channel.
    Channel,
    /// The configured carrier.
    Carrier,
    /// The country of the numbers.
    Country,
    /// The tenant.
    Tenant,
}

impl Dimension {
    /// All dimensions.
    pub const ALL: [Self; 4] = [Self::Channel, Self::Carrier, Self::Country, Self::Tenant];

    /// The name of the dimension, as in a query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Carrier => "carrier",
            Self::Country => "country",
            Self::Tenant => "tenant",
        }
    }

    fn value(self, row: &CountRow) -> &str {
        match self {
            Self::Channel => row.cell.channel.as_str(),
            Self::Carrier => &row.cell.carrier,
            Self::Country => &row.cell.country,
            Self::Tenant => &row.cell.tenant,
        }
    }
}

impl Status {
    /// Makes a status. The filter applies to the numbers and the history, not to the verdict.
    pub fn new(Snapshot { input, findings }: &Snapshot, filter: &Group) -> Self {
        let now = input.now;
        let ago = |time: Duration| now.checked_sub(time).unwrap_or(Timestamp::MIN);
        let mut all = Numbers::default();
        let mut by: BTreeMap<Dimension, BTreeMap<&str, Numbers>> =
            Dimension::ALL.map(|dimension| (dimension, BTreeMap::new())).into();
        let last_point = interval_start(now, POINT);
        let count = (DAY.as_secs() / POINT.as_secs()) as u32;
        let first_point = last_point.checked_sub(POINT * (count - 1)).unwrap_or(Timestamp::MIN);
        let mut points: BTreeMap<Timestamp, DeliveryCounts> =
            (0..count).map(|n| (after(first_point, POINT * n), DeliveryCounts::default())).collect();
        for row in input.rows.iter().filter(|row| filter.holds(&row.cell)) {
            if let Some(point) = points.get_mut(&interval_start(row.started_at, POINT)) {
                point.add_all(&row.counts);
            }
            if row.started_at < ago(DAY) {
                continue;
            }
            let is_recent = row.started_at >= ago(RECENT);
            all.add(&row.counts, is_recent);
            for (dimension, values) in &mut by {
                values.entry(dimension.value(row)).or_default().add(&row.counts, is_recent);
            }
        }
        let mut processes = input.reports.clone();
        processes.sort_by_key(|process| (!process.is_alive(now), std::cmp::Reverse(process.seen_at)));
        let living = processes.iter().filter(|process| process.is_alive(now)).count();
        processes.truncate(living + MAX_GONE);
        let alive: Vec<&SeenReport> = processes.iter().filter(|process| process.is_alive(now)).collect();
        // A paused carrier gets no request, and so no probe.
        let mut breakers = input.open_breakers();
        breakers.retain(|open| !input.is_paused(&open.carrier, open.country.as_deref()));
        Self {
            at: now,
            findings: findings.clone(),
            is_quiet: !input
                .rows
                .iter()
                .any(|row| row.started_at >= ago(RECENT) && row.counts.of(Counted::Attempts) > 0),
            all,
            by: by.into_iter().map(|(dimension, values)| (dimension, sorted(values))).collect(),
            failures: failures(&alive, filter),
            history: points.into_iter().collect(),
            queues: queues(&alive),
            oldest_due: oldest_due(&alive),
            breakers,
            pauses: input.pauses.clone(),
            processes,
        }
    }
}

/// Returns what is wrong.
fn findings(input: &Input) -> Vec<Finding> {
    let now = input.now;
    // During an outage nothing new is counted, and after it the receipts of that time look late.
    let is_of_outage = |row: &CountRow| {
        let is_of = |(begun, ended)| row.started_at < ended && after(row.started_at, RECEIPT_WAIT) > begun;
        input.ledger_problem.is_some() || input.outage.is_some_and(is_of)
    };
    // What an operator could do about a paused carrier is done. Its failures stay in the counts for an hour.
    let is_paused = |carrier: &str, country: &str| input.is_paused(carrier, Some(country));
    let rows = input.rows.iter().filter(|row| !is_of_outage(row));
    let mut history =
        History::of_counts(rows.filter(|row| !is_paused(&row.cell.carrier, &row.cell.country)), now);
    let alive = input.reports.iter().filter(|process| process.is_alive(now));
    let failures = alive.flat_map(|process| &process.report.failures);
    history.set_failures(failures.filter(|f| !is_paused(&f.carrier, &f.country)).cloned().collect());
    let mut findings = verdict(&history, &problems::own(input), now);
    findings.truncate(MAX_FINDINGS);
    findings
}

fn sorted(values: BTreeMap<&str, Numbers>) -> Vec<(String, Numbers)> {
    let mut values: Vec<(String, Numbers)> =
        values.into_iter().map(|(name, numbers)| (name.to_owned(), numbers)).collect();
    let attempts = |numbers: &Numbers| numbers.day.of(Counted::Attempts);
    values.sort_by_key(|(_, numbers)| std::cmp::Reverse(attempts(numbers)));
    values
}

/// The failures that the living processes report.
fn failures(alive: &[&SeenReport], filter: &Group) -> Vec<FailureCount> {
    if filter.tenant.is_some() {
        return vec![];
    }
    let reported = alive.iter().flat_map(|process| &process.report.failures);
    FailureCount::sums(reported.filter(|failure| filter.holds_failure(failure)))
}

/// The newest report says what is due. An older one may name a dispatch that was taken since.
fn oldest_due(alive: &[&SeenReport]) -> Option<Timestamp> {
    alive.iter().max_by_key(|process| process.seen_at)?.report.oldest_due
}

/// The lengths of the queues. Processes look at different moments: the greatest counts.
fn queues(alive: &[&SeenReport]) -> BTreeMap<String, u32> {
    let mut queues = BTreeMap::new();
    for (name, length) in alive.iter().flat_map(|process| &process.report.queues) {
        let greatest: &mut u32 = queues.entry(name.clone()).or_default();
        *greatest = (*greatest).max(*length);
    }
    queues
}

/// Each breaker once, although several workers have it open.
fn once(breakers: BTreeSet<&OpenBreaker>) -> Vec<OpenBreaker> {
    let mut once: Vec<OpenBreaker> = breakers.into_iter().cloned().collect();
    once.dedup_by(|b, a| (&a.carrier, &a.channel, &a.country) == (&b.carrier, &b.channel, &b.country));
    once
}
