//! Connects the parts to the metrics: what the ledger reports, and the states that are set at each scrape.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::broker::Broker;
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::domain::attempt_fact::{AttemptEvent, AttemptFact};
use crate::domain::clock::between;
use crate::domain::delivery_cell::Cell;
use crate::http::Api;
use crate::ledger::{Ledger, LedgerError, Observer, PoolState};
use crate::ops::Readiness;
use crate::ops::metrics::{LedgerMetrics, Metrics};

/// Counts the transactions of the ledger. The metrics keep the ledger, so the ledger must not keep the metrics.
struct LedgerObserver(Weak<Metrics>);

impl LedgerObserver {
    fn with(&self, count: impl FnOnce(&LedgerMetrics)) {
        if let Some(metrics) = self.0.upgrade() {
            count(&metrics.ledger);
        }
    }
}

impl Observer for LedgerObserver {
    fn grouped(&self, operation: &'static str, items: usize) {
        self.with(|m| m.observe_group(operation, items));
    }

    fn ended(&self, operation: &'static str, time: Duration) {
        self.with(|m| m.observe_transaction(operation, time));
    }

    fn retried(&self, operation: &'static str, error: &LedgerError) {
        self.with(|m| m.count_retry(operation, error.kind()));
    }

    fn failed(&self, operation: &'static str, error: &LedgerError) {
        self.with(|m| m.count_error(operation, error.kind()));
    }
}

/// Counts the ledger's transactions, and shows its readiness and its connections.
pub(super) fn observe_ledger(metrics: &Arc<Metrics>, ledger: &Ledger, ready: Readiness) {
    ledger.observe_transactions(Arc::new(LedgerObserver(Arc::downgrade(metrics))));
    let ledger = ledger.clone();
    metrics.on_scrape(move |metrics| {
        metrics.ledger.set_away(ready().is_some());
        if let Some(PoolState { max, idle, in_use, waiting }) = ledger.pool() {
            metrics.ledger.set_connections(max, idle, in_use, waiting);
        }
    });
}

/// Counts what was committed about an attempt. A receipt that corrects an earlier one counts as no further receipt.
pub(super) fn count_fact(metrics: &Metrics, fact: &AttemptFact) {
    let Cell { channel, carrier, country, tenant } = &fact.cell;
    match fact.event {
        AttemptEvent::Receipt { status, corrects, .. } => {
            let since_begin = between(fact.begun_at, fact.at);
            metrics.receipts.count_receipt(carrier, *channel, Some(country), since_begin, status, corrects);
        }
        AttemptEvent::Verified => metrics.receipts.count_verified(carrier, Some(country), tenant),
        AttemptEvent::Answered { .. } | AttemptEvent::Accepted { .. } => {}
    }
}

/// Shows the connections to RabbitMQ.
pub(super) fn observe_broker(metrics: &Metrics, broker: Broker) {
    metrics.on_scrape(move |metrics| {
        for connection in broker.connections() {
            metrics.broker.set_connection(connection.name, connection.is_connected, connection.connects);
        }
    });
}

/// Shows circuit breakers, rate limits and cached policies of the accounts.
pub(super) fn observe_routes(metrics: &Metrics, rules: Live<Rules>) {
    metrics.on_scrape(move |metrics| {
        let rules = rules.current();
        metrics.routing.forget_accounts();
        for account in rules.routes.states() {
            for channel in &account.channels {
                let (breaker, countries) = (channel.breaker, channel.countries);
                metrics.routing.set_breaker(&account.name, channel.channel, breaker, countries);
                metrics.delivery.show_carrier(&account.name, channel.channel);
            }
            metrics.receipts.show_carrier(&account.name);
            metrics.routing.set_paused(&account.name, account.is_paused);
            metrics.routing.set_rate_limit(&account.name, account.rate_per_s, account.share_per_s);
        }
        set_maps(metrics, &[("policies", rules.routes.cached_policies())]);
    });
}

/// Shows the sizes of the maps of the HTTP API. The API keeps the metrics, so the metrics must not keep the API.
pub(super) fn observe_api(metrics: &Metrics, http_api: &Arc<Api>) {
    let http_api = Arc::downgrade(http_api);
    metrics.on_scrape(move |metrics| {
        if let Some(http_api) = http_api.upgrade() {
            set_maps(metrics, &http_api.map_sizes());
        }
    });
}

fn set_maps(metrics: &Metrics, sizes: &[(&'static str, usize)]) {
    for (map, entries) in sizes {
        metrics.process.set_map(map, *entries);
    }
}
