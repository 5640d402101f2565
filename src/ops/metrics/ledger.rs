//! The ledger as this process sees it.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::{Bounded, increment};
use super::labels::{LedgerErrorLabels, Names, OperationLabels, PoolLabels, Word};
use crate::ops::share::Share;
use crate::ops::verdict::Tally;

/// Upper bounds of the size of a group.
const GROUP: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
/// Upper bounds of the time of a transaction, in seconds.
const TRANSACTION: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// A transaction that takes longer than this counts as slow.
pub const SLOW_TRANSACTION: Duration = Duration::from_millis(500);
/// The operations that delay a code, and the health check. Others may take longer.
const WAITED_FOR: [Word; 5] = ["admit", "begin", "write_unlocked", "record", "check"];

/// Counts and times of the ledger's operations.
#[derive(Debug)]
pub struct LedgerMetrics {
    lost_commits: Counter,
    away: Gauge,
    group_items: Bounded<OperationLabels, Histogram>,
    transaction_seconds: Bounded<OperationLabels, Histogram>,
    retries: Bounded<LedgerErrorLabels, Counter>,
    errors: Bounded<LedgerErrorLabels, Counter>,
    connections: Bounded<PoolLabels, Gauge>,
    connections_max: Gauge,
    waiting: Gauge,
    slow: Share,
}

impl LedgerMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            lost_commits: Counter::default(),
            away: Gauge::default(),
            group_items: Bounded::histograms(names, || Histogram::new(GROUP), GROUP.len()),
            transaction_seconds: Bounded::histograms(
                names,
                || Histogram::new(TRANSACTION),
                TRANSACTION.len(),
            ),
            retries: Bounded::counters(names),
            errors: Bounded::counters(names),
            connections: Bounded::new(names, Gauge::default, 1),
            connections_max: Gauge::default(),
            waiting: Gauge::default(),
            slow: Share::default(),
        };
        r.register(
            "ledger_lost_commits",
            "Commits of this process that the ledger no longer has",
            m.lost_commits.clone(),
        );
        r.register(
            "ledger_away",
            "Whether the ledger does not answer or refuses writes: 1, or 0",
            m.away.clone(),
        );
        r.register("ledger_group_items", "Items that one transaction writes", m.group_items.family());
        r.register_with_unit(
            "ledger_transaction",
            "Time of a transaction, with the wait for a connection",
            Unit::Seconds,
            m.transaction_seconds.family(),
        );
        r.register("ledger_retries", "Transactions that were run again, by cause", m.retries.family());
        r.register("ledger_errors", "Operations that failed, by kind of error", m.errors.family());
        r.register(
            "ledger_connections",
            "Connections to the ledger (PostgreSQL only)",
            m.connections.family(),
        );
        r.register(
            "ledger_connections_max",
            "Maximum number of connections to the ledger, ledger.pool; 0 for SQLite",
            m.connections_max.clone(),
        );
        r.register(
            "ledger_connections_awaited",
            "Operations that wait for a connection to the ledger",
            m.waiting.clone(),
        );
        m
    }

    /// Counts a commit that the ledger has lost.
    pub fn count_lost_commit(&self) {
        self.lost_commits.inc();
    }

    /// Sets whether the ledger is away.
    pub fn set_away(&self, is_away: bool) {
        self.away.set(is_away.into());
    }

    /// Records the size of a group.
    pub fn observe_group(&self, operation: Word, items: usize) {
        self.group_items.with(&OperationLabels { operation }, |m| m.observe(items as f64));
    }

    /// Records the time of a transaction, whether or not it succeeded.
    pub fn observe_transaction(&self, operation: Word, time: Duration) {
        if WAITED_FOR.contains(&operation) {
            self.slow.count(time > SLOW_TRANSACTION);
        }
        self.transaction_seconds.with(&OperationLabels { operation }, |m| m.observe(time.as_secs_f64()));
    }

    /// Returns how many transactions that codes wait for have ended since the last call, and how many of them were slow.
    pub fn take_slow(&self) -> Tally {
        self.slow.take()
    }

    /// Counts a transaction that is run again.
    pub fn count_retry(&self, operation: Word, kind: Word) {
        self.retries.with(&LedgerErrorLabels { operation, kind }, increment);
    }

    /// Counts an operation that failed for good. A failed group counts once.
    pub fn count_error(&self, operation: Word, kind: Word) {
        self.errors.with(&LedgerErrorLabels { operation, kind }, increment);
    }

    /// Sets the numbers of connections to the ledger.
    pub fn set_connections(&self, max: usize, idle: usize, in_use: usize, waiting: usize) {
        self.connections_max.set(max as i64);
        self.connections.with(&PoolLabels { state: "idle" }, |m| m.set(idle as i64));
        self.connections.with(&PoolLabels { state: "in_use" }, |m| m.set(in_use as i64));
        self.waiting.set(waiting as i64);
    }
}
