//! The sections of the benchmark.

use clap::ValueEnum;
use serde::Serialize;

use crate::bench::Bench;
use crate::results::Results;
use crate::sections::{cost, drain, embedded, growth, latency, memory, receipts, retention, start, workers};

/// A section of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Section {
    /// Deliveries per second, of otpost and of other workers
    Drain,
    /// Milliseconds from a job's scheduled publication to its request at the carrier, at fixed rates
    Latency,
    /// Statements, round trips, write-ahead log and allocations per delivery
    Cost,
    /// Drains and scans with many old rows
    Growth,
    /// Memory at rest, with slow requests, and with a long queue
    Memory,
    /// The deletion of old rows
    Retention,
    /// Delivery receipts per second
    Receipts,
    /// Deliveries per second with SQLite and without a broker
    Embedded,
    /// Deliveries per second with several worker processes
    Workers,
    /// Milliseconds from the start of a process to its first request
    Start,
}

/// A column of a section's table.
pub(crate) struct Column {
    pub(crate) figure: &'static str,
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// Whether the least and the greatest value are shown too.
    pub(crate) spread: bool,
}

impl Column {
    const fn new(figure: &'static str, title: &'static str, decimals: usize) -> Self {
        Self { figure, title, decimals, spread: false }
    }

    const fn with_spread(self) -> Self {
        Self { spread: true, ..self }
    }
}

const RATE: Column = Column::new("deliveries_per_s", "Deliveries/s (slowest to fastest)", 0).with_spread();
const CPU: [Column; 4] = [
    Column::new("worker_cpu_us", "CPU per delivery, µs: worker", 0),
    Column::new("postgres_cpu_us", "PostgreSQL", 0),
    Column::new("rabbitmq_cpu_us", "RabbitMQ", 0),
    Column::new("carrier_cpu_us", "carrier", 0),
];
const WAL: Column = Column::new("wal_bytes", "WAL per delivery, bytes", 0);
const PEAK: Column = Column::new("peak_mb", "Peak memory, MB", 0);
const OTHERS: Column = Column::new("others_percent", "Others' share of the machine, %", 0);

impl Section {
    /// Measures the section, and adds to the results what it measured.
    pub(crate) async fn measure(self, bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
        match self {
            Self::Drain => drain::measure(bench, results).await,
            Self::Latency => latency::measure(bench, results).await,
            Self::Cost => cost::measure(bench, results).await,
            Self::Growth => growth::measure(bench, results).await,
            Self::Memory => memory::measure(bench, results).await,
            Self::Retention => retention::measure(bench, results).await,
            Self::Receipts => receipts::measure(bench, results).await,
            Self::Embedded => embedded::measure(bench, results).await,
            Self::Workers => workers::measure(bench, results).await,
            Self::Start => start::measure(bench, results).await,
        }
    }

    /// Returns its name on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Latency => "latency",
            Self::Cost => "cost",
            Self::Growth => "growth",
            Self::Memory => "memory",
            Self::Retention => "retention",
            Self::Receipts => "receipts",
            Self::Embedded => "embedded",
            Self::Workers => "workers",
            Self::Start => "start",
        }
    }

    pub(crate) fn columns(self) -> Vec<Column> {
        let [worker, postgres, rabbitmq, carrier] = CPU;
        match self {
            Self::Drain => vec![RATE, worker, postgres, rabbitmq, carrier, WAL, PEAK, OTHERS],
            Self::Latency => vec![
                Column::new("rate_per_s", "Jobs/s", 0),
                Column::new("p50_ms", "p50, ms", 1),
                Column::new("p95_ms", "p95, ms", 1),
                Column::new("p99_ms", "p99, ms (least to greatest)", 1).with_spread(),
                Column::new("max_ms", "max, ms", 0),
            ],
            Self::Cost => vec![
                Column::new("statements", "Statements per delivery", 3),
                Column::new("round_trips", "Round trips per delivery", 3),
                WAL,
                Column::new("allocations", "Allocations per delivery", 0),
                Column::new("allocated_bytes", "Allocated bytes per delivery", 0),
            ],
            Self::Growth => vec![
                RATE,
                worker,
                postgres,
                Column::new("due_scan_ms", "Due scan, ms (least to greatest)", 2).with_spread(),
                Column::new("outbox_scan_ms", "Outbox scan, ms (least to greatest)", 2).with_spread(),
                Column::new("first_scan_ms", "First scan of a process, ms", 1),
            ],
            Self::Memory => vec![
                Column::new("resident_mb", "Memory, MB", 0),
                Column::new("peak_mb", "Peak so far, MB", 0),
                Column::new("waiting", "Jobs in the queue", 0),
            ],
            Self::Retention => vec![
                Column::new("deleted_per_s", "Deleted rows/s", 0),
                Column::new("step_ms", "A step of 1,000 rows, ms: median", 1),
                Column::new("last_step_ms", "last", 1),
                Column::new("slowest_step_ms", "slowest", 1),
            ],
            Self::Receipts => vec![
                Column::new("receipts_per_s", "Receipts/s (slowest to fastest)", 0).with_spread(),
                Column::new("receiver_cpu_us", "CPU per receipt, µs: receiver", 0),
                Column::new("worker_cpu_us", "worker", 0),
                postgres,
                rabbitmq,
            ],
            Self::Embedded => vec![RATE, Column::new("posts_per_s", "Answered posts/s", 0), worker, PEAK],
            Self::Workers => vec![RATE, worker, postgres, rabbitmq, PEAK],
            Self::Start => vec![
                Column::new("first_request_ms", "First request, ms (fastest to slowest)", 0).with_spread(),
            ],
        }
    }
}
