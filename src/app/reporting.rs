//! Reports of this process, and the counts of its deliveries, for the status of the deployment.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Roles;
use jiff::Timestamp;

use crate::broker::Broker;
use crate::broker::topology::DISPATCH;
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::domain::delivery_count::CountRow;
use crate::ledger::Ledger;
use crate::ops::delivery_counter::DeliveryCounter;
use crate::ops::failures::FailureCounter;
use crate::ops::metrics::Metrics;
use crate::ops::report::{OpenBreaker, ProblemTracker, REPORT_INTERVAL, Report, Surroundings};

/// What a report is made from.
pub(super) struct Reporter {
    pub(super) name: String,
    pub(super) ops: SocketAddr,
    pub(super) started_at: Timestamp,
    pub(super) roles: Roles,
    pub(super) ledger: Ledger,
    pub(super) broker: Option<Broker>,
    pub(super) rules: Live<Rules>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) counter: Arc<DeliveryCounter>,
    pub(super) failures: Arc<FailureCounter>,
}

impl Reporter {
    /// Reports every five seconds, and stores the counts. Never returns.
    pub(super) async fn run(self: Arc<Self>) {
        let (mut tick, mut tracker) = (tokio::time::interval(REPORT_INTERVAL), ProblemTracker::default());
        loop {
            tick.tick().await;
            self.store_counts().await;
            let report = self.report(&mut tracker).await;
            // During an outage the last report stays. `LedgerHealth` logs the outage.
            let _ = self.ledger.report_process(&self.name, &json(&report)).await;
        }
    }

    /// Stores the last counts, and reports the stop, at the end of the process.
    pub(super) async fn stop(&self) {
        self.store_counts().await;
        let report = Report { is_stopped: true, ..self.head() };
        let _ = self.ledger.report_process(&self.name, &json(&report)).await;
    }

    /// Stores what was counted. What cannot be stored is put back, also when the caller stops waiting.
    async fn store_counts(&self) {
        let mut taken = Taken { counter: &self.counter, rows: self.counter.take() };
        if taken.rows.is_empty() || self.ledger.add_counts(&taken.rows).await.is_ok() {
            taken.rows.clear();
        }
    }

    /// The part of a report that does not change.
    fn head(&self) -> Report {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let roles =
            [("api", self.roles.api), ("worker", self.roles.worker), ("receipts", self.roles.receipts)];
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ops: page(self.ops, &host),
            host,
            started_at: self.started_at,
            roles: roles.into_iter().filter(|(_, has)| *has).map(|(role, _)| role.to_owned()).collect(),
            ..Report::default()
        }
    }

    async fn report(&self, tracker: &mut ProblemTracker) -> Report {
        let queues = self.broker.as_ref().map(|broker| broker.queue_lengths().borrow().clone());
        let queues = queues.unwrap_or_default();
        let broker_problem = self.broker.as_ref().and_then(|broker| {
            let states = broker.watch().borrow().clone();
            let is_up = if self.roles.worker {
                states.publishing() && states.consuming()
            } else {
                states.publishing()
            };
            (!is_up).then(|| states.problem().unwrap_or("does not answer").to_owned())
        });
        let seen = Surroundings {
            broker_problem,
            paused: if self.roles.worker {
                self.rules.current().routes.paused_channels().iter().map(ToString::to_string).collect()
            } else {
                vec![]
            },
            waiting_jobs: queues.get(DISPATCH).map_or(0, |length| length.messages),
            clock_ahead_s: self.metrics.process.clock_ahead(),
            oldest_due: self.ledger.oldest_due().await.ok().flatten(),
            transactions: self.metrics.ledger.take_slow(),
            jobs: self.metrics.intake.take_old_jobs(),
        };
        let breakers = self.rules.current().routes.open_breakers();
        Report {
            in_flight: self.metrics.delivery.in_flight(),
            clock_ahead_s: seen.clock_ahead_s,
            queues: queues.into_iter().map(|(queue, length)| (queue.to_owned(), length.messages)).collect(),
            oldest_due: seen.oldest_due,
            breakers: breakers.into_iter().map(OpenBreaker::from).collect(),
            failures: self.failures.recent(self.ledger.now()),
            problems: tracker.update(&seen, self.ledger.now()),
            ..self.head()
        }
    }
}

/// Where people open the page. A listener on all addresses is reached by the name of its machine.
fn page(listen: SocketAddr, host: &str) -> String {
    if listen.ip().is_unspecified() { format!("{host}:{}", listen.port()) } else { listen.to_string() }
}

fn json(report: &Report) -> String {
    serde_json::to_string(report).expect("plain structs with text keys serialise")
}

/// Counts that are not stored yet.
struct Taken<'a> {
    counter: &'a DeliveryCounter,
    rows: Vec<CountRow>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.counter.put_back(std::mem::take(&mut self.rows));
    }
}

impl From<crate::delivery::routing::OpenBreaker> for OpenBreaker {
    fn from(open: crate::delivery::routing::OpenBreaker) -> Self {
        Self {
            carrier: open.carrier,
            channel: open.channel.as_str().to_owned(),
            country: open.country,
            probe_in_s: open.probe_in.as_secs(),
        }
    }
}
