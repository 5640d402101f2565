//! Circuit breakers and rate limits of the accounts, as this process has them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::{Bounded, increment};
use super::labels::{AccountLabels, CarrierLabels, Names};
use crate::domain::channel::Channel;

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed = 0,
    /// Its pause has ended. The next request is the probe.
    HalfOpen = 1,
    /// No request passes.
    Open = 2,
}

/// State of circuit breakers and rate limits.
#[derive(Debug)]
pub struct RoutingMetrics {
    names: Arc<Names>,
    breaker_state: Bounded<CarrierLabels, Gauge>,
    open_countries: Bounded<CarrierLabels, Gauge>,
    opened: Bounded<CarrierLabels, Counter>,
    paused: Bounded<AccountLabels, Gauge>,
    rate: Bounded<AccountLabels, Gauge<f64, AtomicU64>>,
    share: Bounded<AccountLabels, Gauge<f64, AtomicU64>>,
}

impl RoutingMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            names: Arc::clone(names),
            breaker_state: Bounded::new(names, Gauge::default, 1),
            open_countries: Bounded::new(names, Gauge::default, 1),
            opened: Bounded::counters(names),
            paused: Bounded::new(names, Gauge::default, 1),
            rate: Bounded::new(names, Gauge::default, 1),
            share: Bounded::new(names, Gauge::default, 1),
        };
        r.register(
            "breaker_state",
            "Circuit breaker of a carrier's channel: 0 closed, 1 half open, 2 open",
            m.breaker_state.family(),
        );
        r.register(
            "breaker_countries",
            "Countries whose circuit breaker is open or half open",
            m.open_countries.family(),
        );
        r.register(
            "breaker_opened",
            "Times that a circuit breaker opened, those of countries included",
            m.opened.family(),
        );
        r.register(
            "carrier_paused",
            "Whether an operator has paused the carrier everywhere: 1, or 0",
            m.paused.family(),
        );
        let per_second = || Unit::Other("per_second".to_owned());
        r.register_with_unit(
            "rate_limit",
            "Configured rate limit of an account",
            per_second(),
            m.rate.family(),
        );
        r.register_with_unit(
            "rate_limit_share",
            "Share of an account's rate limit that this process may use",
            per_second(),
            m.share.family(),
        );
        m
    }

    /// Counts a circuit breaker that has opened.
    pub fn count_opened(&self, carrier: &str, channel: Channel) {
        self.opened.with(&self.labels(carrier, channel), increment);
    }

    /// Forgets all accounts. The caller sets the current ones next.
    pub fn forget_accounts(&self) {
        self.breaker_state.clear();
        self.open_countries.clear();
        self.paused.clear();
        self.rate.clear();
        self.share.clear();
    }

    /// Sets the circuit breakers of a carrier's channel: its own, and the number of countries whose breaker is not closed.
    pub fn set_breaker(&self, carrier: &str, channel: Channel, state: BreakerState, open_countries: usize) {
        let labels = self.labels(carrier, channel);
        self.breaker_state.with(&labels, |m| m.set(state as i64));
        self.open_countries.with(&labels, |m| m.set(open_countries as i64));
        self.opened.with(&labels, |_| ());
    }

    /// Sets whether an account is paused.
    pub fn set_paused(&self, carrier: &str, is_paused: bool) {
        let labels = AccountLabels { carrier: self.names.get(carrier) };
        self.paused.with(&labels, |m| m.set(is_paused.into()));
    }

    /// Sets the rate limit of an account, in requests per second.
    pub fn set_rate_limit(&self, carrier: &str, configured: f64, share: f64) {
        let labels = AccountLabels { carrier: self.names.get(carrier) };
        self.rate.with(&labels, |m| m.set(configured));
        self.share.with(&labels, |m| m.set(share));
    }

    fn labels(&self, carrier: &str, channel: Channel) -> CarrierLabels {
        CarrierLabels { carrier: self.names.get(carrier), channel: channel.as_str() }
    }
}
