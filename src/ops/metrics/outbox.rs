//! Events that leave otpost, and work that waits in the ledger.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::{Bounded, increment};
use super::labels::{Names, OutboxLabels, WebhookLabels, Word};

/// A gauge that may be absent. It has no labels.
type Optional<M> = Family<[(Word, Word); 0], M>;
type Seconds = Gauge<f64, AtomicU64>;

/// Counts of published events, and the sizes of what waits.
#[derive(Debug)]
pub struct OutboxMetrics {
    names: Arc<Names>,
    published: Counter,
    webhooks: Bounded<WebhookLabels, Counter>,
    waiting: Bounded<OutboxLabels, Gauge>,
    waiting_age: Bounded<OutboxLabels, Seconds>,
    given_up: Bounded<OutboxLabels, Gauge>,
    due: Optional<Gauge>,
    due_age: Optional<Seconds>,
}

impl OutboxMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            names: Arc::clone(names),
            published: Counter::default(),
            webhooks: Bounded::counters(names),
            waiting: Bounded::new(names, Gauge::default, 1),
            waiting_age: Bounded::new(names, Gauge::default, 1),
            given_up: Bounded::new(names, Gauge::default, 1),
            due: Family::default(),
            due_age: Family::default(),
        };
        r.register("events_told", "Events published and confirmed", m.published.clone());
        r.register("webhooks", "Deliveries to webhooks, by result", m.webhooks.family());
        r.register(
            "outbox_rows",
            "Rows of the outbox whose events their receiver does not have yet",
            m.waiting.family(),
        );
        r.register_with_unit(
            "outbox_oldest",
            "Age of the oldest of these rows",
            Unit::Seconds,
            m.waiting_age.family(),
        );
        r.register("outbox_given_up", "Rows of the outbox that are not tried again", m.given_up.family());
        r.register("due", "Wake-ups of dispatches that are due and not taken", m.due.clone());
        r.register_with_unit(
            "due_oldest",
            "Time since the oldest of these was due",
            Unit::Seconds,
            m.due_age.clone(),
        );
        m
    }

    /// Counts an event that RabbitMQ has confirmed.
    pub fn count_published(&self) {
        self.published.inc();
    }

    /// Shows the deliveries to a tenant's webhook as 0 until one is counted.
    pub fn show_webhook(&self, tenant: &str) {
        for result in ["told", "failed", "given_up"] {
            self.webhooks.with(&WebhookLabels { tenant: self.names.get(tenant), result }, |_| ());
        }
    }

    /// Counts an attempt to deliver an event to a tenant's webhook.
    pub fn count_webhook(&self, tenant: &str, result: Word) {
        self.webhooks.with(&WebhookLabels { tenant: self.names.get(tenant), result }, increment);
    }

    /// Sets the number of due wake-ups, and how long the oldest has been due.
    pub fn set_due(&self, wake_ups: u64, oldest: Duration) {
        self.due.get_or_create(&[]).set(i64::try_from(wake_ups).unwrap_or(i64::MAX));
        self.due_age.get_or_create(&[]).set(oldest.as_secs_f64());
    }

    /// Sets the rows of the outbox for `broker` or `webhook`: those that wait, the age of the oldest, and those that are given up.
    pub fn set_outbox(&self, receiver: Word, waiting: u64, oldest: Duration, given_up: u64) {
        let labels = OutboxLabels { receiver };
        self.waiting.with(&labels, |m| m.set(i64::try_from(waiting).unwrap_or(i64::MAX)));
        self.waiting_age.with(&labels, |m| m.set(oldest.as_secs_f64()));
        self.given_up.with(&labels, |m| m.set(i64::try_from(given_up).unwrap_or(i64::MAX)));
    }

    /// Forgets what waits, because another process measures it from now on.
    pub fn forget_waiting(&self) {
        self.due.clear();
        self.due_age.clear();
        self.waiting.clear();
        self.waiting_age.clear();
        self.given_up.clear();
    }
}
