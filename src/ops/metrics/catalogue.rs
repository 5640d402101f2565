//! The list of all metrics, for the page of operators and the dashboard.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{BreakerState, Format, Metrics};
use crate::domain::attempt::{Attempt, Details, Outcome, ReceiptStatus, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{Order, Plan};

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// It only grows, until the process restarts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size, with a sum.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name in queries, such as `otpost_attempts_total`. A histogram has the suffixes `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Its help text.
    pub help: String,
    /// The names of its labels, without that of buckets.
    pub labels: BTreeSet<String>,
}

impl Described {
    /// Whether this name in a query is one of its series. A histogram has three.
    pub fn is_named(&self, name: &str) -> bool {
        match name.strip_prefix(&self.name) {
            Some("") => self.kind != Kind::Histogram,
            Some(suffix) => self.kind == Kind::Histogram && ["_bucket", "_sum", "_count"].contains(&suffix),
            None => false,
        }
    }
}

/// All metrics of otpost.
pub fn catalogue() -> Vec<Described> {
    let mut all: Vec<Described> = vec![];
    let mut help = String::new();
    for line in with_every_series().text(Format::Prometheus).lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, help)| help.to_owned()).unwrap_or_default();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let kind = kind.parse().unwrap_or(Kind::Gauge);
            let help = std::mem::take(&mut help);
            all.push(Described { name: name.to_owned(), kind, help, labels: BTreeSet::new() });
        } else if let (Some(metric), Some((_, labels))) = (all.last_mut(), line.split_once('{')) {
            let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            metric.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    all
}

/// Metrics with a series in each family, because a family without a series is not printed.
pub(super) fn with_every_series() -> Metrics {
    let m = Metrics::default();
    let (second, carrier) = (Duration::from_secs(1), "mock");
    let (order, attempt) = (order("shop", Some("GB")), attempt(carrier));
    m.intake.count_admission("amqp", "known");
    m.intake.count_refusal("amqp", "quota");
    m.intake.count_quota_refusal("number", "5/10m");
    m.intake.count_act("next", "done");
    m.delivery.count_state(None, State::Undelivered, Channel::Sms, &order);
    m.delivery.count_state(Some(State::Undelivered), State::Delivered, Channel::Sms, &order);
    m.delivery.observe_delivery(Channel::Sms, second);
    m.delivery.count_begin(&attempt);
    m.delivery.observe_first_request(&attempt, second);
    m.delivery.observe_answer(&attempt, second);
    let details = Details { segments: Some(1), price: Some("-0.0075 USD".to_owned()), ..Details::default() };
    m.delivery.count_outcome(&attempt, Some("GB"), Outcome::Accepted, &details, second);
    m.delivery.count_unknown(&attempt, "answer");
    m.receipts.count_callback(carrier, "delivered");
    m.receipts.count_receipt(carrier, Channel::Sms, Some("GB"), second, ReceiptStatus::Delivered, false);
    m.receipts.count_verified(carrier, Some("GB"), "shop");
    m.routing.count_opened(carrier, Channel::Sms);
    m.routing.set_breaker(carrier, Channel::Sms, BreakerState::Closed, 0);
    m.routing.set_paused(carrier, false);
    m.routing.set_rate_limit(carrier, 1.0, 1.0);
    m.broker.set_queue("otpost.dead", 0, 0);
    m.broker.set_connection("publishing", true, 1);
    m.outbox.count_webhook("shop", "failed");
    m.outbox.set_due(0, Duration::ZERO);
    m.outbox.set_outbox("broker", 0, Duration::ZERO, 0);
    m.ledger.observe_group("admit", 1);
    m.ledger.observe_transaction("admit", second);
    m.ledger.count_retry("admit", "conflict");
    m.ledger.count_error("admit", "data");
    m.ledger.set_connections(8, 7, 1, 0);
    m.process.set_map("policies", 0);
    m
}

/// A dispatch of a tenant to a country.
pub(super) fn order(tenant: &str, country: Option<&str>) -> Order {
    let now = crate::domain::clock::now();
    Order {
        uid: uuid::Uuid::nil(),
        tenant: tenant.to_owned(),
        id: uuid::Uuid::nil(),
        plan: Plan::try_from(vec![Channel::Sms]).expect("one step is a plan"),
        expires_at: now,
        fallback_after_s: 0,
        template: String::new(),
        locale: None,
        country: country.map(str::to_owned),
        mask: String::new(),
        number: String::new(),
        tags: std::collections::BTreeMap::new(),
        traceparent: None,
    }
}

/// A repeated attempt through a carrier.
pub(super) fn attempt(carrier: &str) -> Attempt {
    let now = crate::domain::clock::now();
    Attempt {
        n: 2,
        step: 1,
        channel: Channel::Sms,
        carrier: carrier.to_owned(),
        claim: uuid::Uuid::nil(),
        repeats: Some(1),
        begun_at: now,
        deadline: now,
        closed_at: None,
        outcome: None,
        details: Details::default(),
        receipt: None,
        receipt_reason: None,
        receipt_code: None,
        receipt_at: None,
        corrected_reason: None,
        corrected_code: None,
        corrected_at: None,
    }
}
