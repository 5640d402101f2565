//! Prometheus metrics. Labels are closed sets of words or names from the configuration, never values of a job.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// A label value from a closed set.
type LabelValue = &'static str;

/// Labels `door` and `result`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AdmissionLabels {
    /// Where the job came from: `amqp` or `http`.
    pub door: LabelValue,
    /// The result: over AMQP the state of the new row, `known`, `conflict`, `dead` or `suspect`; over HTTP `queued`, `known`, `conflict`,
    /// `limited`, `refused`, `denied` or `away`.
    pub result: LabelValue,
}

/// Labels `carrier`, `channel` and `outcome`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// The configured carrier.
    pub carrier: String,
    /// The channel: `sms` or `voice`.
    pub channel: LabelValue,
    /// The attempt's outcome.
    pub outcome: LabelValue,
}

/// Labels `carrier` and `verdict`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReceiptLabels {
    /// The configured carrier.
    pub carrier: String,
    /// The status of the receipt, or why the callback was rejected.
    pub verdict: LabelValue,
}

/// Labels `act` and `result`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActLabels {
    /// The act: `verified`, `not_verified`, `next` or `cancel`.
    pub act: LabelValue,
    /// The result: `done`, `nothing`, `barred` or `unknown`.
    pub result: LabelValue,
}

/// Labels `tenant` and `result`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The configured tenant.
    pub tenant: String,
    /// The result: `told` (delivered), `failed` or `given_up`.
    pub result: LabelValue,
}

/// Label `state`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// A state of a dispatch.
    pub state: LabelValue,
}

/// Label `queue`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabels {
    /// A queue of otpost.
    pub queue: LabelValue,
}

/// The metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Jobs received, by source and result.
    pub admissions: Family<AdmissionLabels, Counter>,
    /// Attempts: requests to carriers, by outcome.
    pub attempts: Family<AttemptLabels, Counter>,
    /// Callbacks of carriers, by status.
    pub receipts: Family<ReceiptLabels, Counter>,
    /// Acts of senders: feedback, next, cancel.
    pub acts: Family<ActLabels, Counter>,
    /// Published state changes of dispatches: `sent` and final states.
    pub states: Family<StateLabels, Counter>,
    /// Events that were published and confirmed.
    pub events_published: Counter,
    /// Deliveries to webhooks, by result.
    pub webhooks: Family<WebhookLabels, Counter>,
    /// Requests to carriers in progress.
    pub in_flight: Gauge,
    /// Seconds from the begin of an attempt to its outcome.
    pub request_seconds: Histogram,
    /// Commits of this process that the ledger no longer has.
    pub lost_commits: Counter,
    /// Seconds by which this machine's clock is ahead of the ledger's clock.
    pub clock_ahead: Gauge<f64, AtomicU64>,
    /// Number of workers that share the carriers' rate limits.
    pub workers: Gauge,
    /// Messages in each queue of otpost, without those that a process holds.
    pub queue_messages: Family<QueueLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut m = Self {
            registry: Registry::with_prefix("otpost"),
            admissions: Family::default(),
            attempts: Family::default(),
            receipts: Family::default(),
            acts: Family::default(),
            states: Family::default(),
            events_published: Counter::default(),
            webhooks: Family::default(),
            in_flight: Gauge::default(),
            request_seconds: Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
            lost_commits: Counter::default(),
            clock_ahead: Gauge::default(),
            workers: Gauge::default(),
            queue_messages: Family::default(),
        };
        let r = &mut m.registry;
        r.register("admissions", "Jobs received, by source and result", m.admissions.clone());
        r.register("attempts", "Attempts: requests to carriers, by outcome", m.attempts.clone());
        r.register("receipts", "Callbacks of carriers, by status", m.receipts.clone());
        r.register("acts", "Acts of senders: feedback, next, cancel", m.acts.clone());
        r.register("states", "Published state changes: sent and final states", m.states.clone());
        r.register("events_told", "Events published and confirmed", m.events_published.clone());
        r.register("webhooks", "Deliveries to webhooks, by result", m.webhooks.clone());
        r.register("in_flight", "Requests to carriers in progress", m.in_flight.clone());
        r.register_with_unit(
            "request",
            "Time from the begin of an attempt to its outcome",
            Unit::Seconds,
            m.request_seconds.clone(),
        );
        r.register(
            "ledger_lost_commits",
            "Commits of this process that the ledger no longer has",
            m.lost_commits.clone(),
        );
        r.register_with_unit(
            "clock_ahead",
            "Time by which this machine's clock is ahead of the ledger's",
            Unit::Seconds,
            m.clock_ahead.clone(),
        );
        r.register("workers", "Workers that share the carriers' rate limits", m.workers.clone());
        r.register(
            "queue_messages",
            "Messages in each queue of otpost, without those that a process holds",
            m.queue_messages.clone(),
        );
        m
    }
}

impl Metrics {
    /// All metrics in the `OpenMetrics` text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }

    /// Counts a received job.
    pub fn count_admission(&self, ingress: LabelValue, result: LabelValue) {
        self.admissions.get_or_create(&AdmissionLabels { door: ingress, result }).inc();
    }

    /// Counts an act.
    pub fn count_act(&self, act: LabelValue, result: LabelValue) {
        self.acts.get_or_create(&ActLabels { act, result }).inc();
    }

    /// Counts an attempt to deliver an event to a tenant's webhook.
    pub fn count_webhook(&self, tenant: &str, result: LabelValue) {
        self.webhooks.get_or_create(&WebhookLabels { tenant: tenant.to_owned(), result }).inc();
    }

    /// Counts a dispatch that has come into this state.
    pub fn count_state(&self, state: crate::domain::attempt::State) {
        self.states.get_or_create(&StateLabels { state: state.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::{AttemptLabels, Metrics, QueueLabels, ReceiptLabels, StateLabels};

    /// Metrics with one series in each family, because a family without a series is not printed.
    fn all() -> Metrics {
        let m = Metrics::default();
        m.count_admission("amqp", "known");
        m.count_act("next", "done");
        m.count_webhook("shop", "failed");
        let carrier = || "mock".to_owned();
        let _ = m.attempts.get_or_create(&AttemptLabels {
            carrier: carrier(),
            channel: "sms",
            outcome: "unknown",
        });
        let _ = m.receipts.get_or_create(&ReceiptLabels { carrier: carrier(), verdict: "delivered" });
        let _ = m.states.get_or_create(&StateLabels { state: "sent" });
        let _ = m.queue_messages.get_or_create(&QueueLabels { queue: "otpost.dead" });
        m
    }

    #[test]
    fn the_page_for_operators_lists_each_metric_with_its_type() {
        let page = include_str!("../../docs/operate.md");
        let text = all().text();
        let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split_once(' '));
        let mut count = 0;
        for (name, kind) in types {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let row = format!("| `{name}{suffix}` | {kind} |");
            assert!(page.contains(&row), "docs/operate.md has no row {row}");
            count += 1;
        }
        assert_eq!(count, page.matches("| `otpost_").count(), "docs/operate.md lists a metric that is gone");
    }
}
