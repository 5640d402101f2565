//! Reports of this process, and the counts of its deliveries, for the status of the deployment.

use std::sync::Arc;

use super::Roles;
use crate::broker::Broker;
use crate::broker::topology::DISPATCH;
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::domain::delivery_count::CountRow;
use crate::ledger::Ledger;
use crate::ops::delivery_counter::DeliveryCounter;
use crate::ops::failure_codes::FailureCodes;
use crate::ops::metrics::Metrics;
use crate::ops::report::{OpenBreaker, ProblemTracker, REPORT_INTERVAL, Report, Surroundings};

/// What a report is made from.
pub(super) struct Reporter {
    pub(super) name: String,
    pub(super) roles: Roles,
    pub(super) ledger: Ledger,
    pub(super) broker: Option<Broker>,
    pub(super) rules: Live<Rules>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) counter: Arc<DeliveryCounter>,
    pub(super) codes: Arc<FailureCodes>,
}

impl Reporter {
    /// Reports every five seconds, and stores the counts. Never returns.
    pub(super) async fn run(self: Arc<Self>) {
        let (mut tick, mut tracker) = (tokio::time::interval(REPORT_INTERVAL), ProblemTracker::default());
        let started_at = crate::domain::clock::now();
        loop {
            tick.tick().await;
            self.store_counts().await;
            let mut report = self.report(&mut tracker).await;
            report.started_at = started_at;
            let report = serde_json::to_string(&report).expect("plain structs with text keys serialise");
            // During an outage the last report stays. `LedgerHealth` logs the outage.
            let _ = self.ledger.report_process(&self.name, &report).await;
        }
    }

    /// Stores the last counts and removes the report, at the end of the process.
    pub(super) async fn stop(&self) {
        self.store_counts().await;
        let _ = self.ledger.remove_report(&self.name).await;
    }

    async fn store_counts(&self) {
        let rows: Vec<CountRow> = self.counter.take();
        if !rows.is_empty() && self.ledger.add_counts(&rows).await.is_err() {
            self.counter.put_back(rows);
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
            waiting_jobs: queues.get(DISPATCH).map_or(0, |length| length.messages),
            clock_ahead_s: self.metrics.process.clock_ahead(),
            oldest_due: self.ledger.oldest_due().await.ok().flatten(),
        };
        let breakers = self.rules.current().routes.open_breakers();
        let roles =
            [("api", self.roles.api), ("worker", self.roles.worker), ("receipts", self.roles.receipts)];
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: roles.into_iter().filter(|(_, has)| *has).map(|(role, _)| role.to_owned()).collect(),
            in_flight: self.metrics.delivery.in_flight(),
            clock_ahead_s: seen.clock_ahead_s,
            queues: queues.into_iter().map(|(queue, length)| (queue.to_owned(), length.messages)).collect(),
            breakers: breakers.into_iter().map(OpenBreaker::from).collect(),
            failure_codes: self.codes.recent(self.ledger.now()),
            problems: tracker.update(&seen, self.ledger.now()),
            ..Report::default()
        }
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
