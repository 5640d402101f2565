//! Dispatches and attempts: what was sent, how it ended, and how long it took.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::{Bounded, increment};
use super::labels::{
    AttemptLabels, CarrierCountryLabels, CarrierLabels, ChannelLabels, CostLabels, DispatchLabels, Names,
    RequestLabels, StateLabels, UnknownLabels, Word,
};
use crate::domain::attempt::{Attempt, Details, Outcome, State};
use crate::domain::channel::Channel;
use crate::domain::dispatch::Order;

/// The outcome of a request that otpost itself did not send, because it was too late after its commit, or the carrier was paused.
const WITHHELD: Word = "withheld";
/// Upper bounds of the time until the first request, in seconds.
const FIRST_REQUEST: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of a carrier's answer time, in seconds.
const ANSWER: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the time until a handset has the message, in seconds.
pub(super) const HANDSET: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Counts and times of dispatches and attempts.
#[derive(Debug)]
pub struct DeliveryMetrics {
    names: Arc<Names>,
    states: Bounded<StateLabels, Counter>,
    dispatches: Bounded<DispatchLabels, Counter>,
    corrections: Bounded<DispatchLabels, Counter>,
    attempts: Bounded<AttemptLabels, Counter>,
    requests: Bounded<RequestLabels, Counter>,
    repeats: Bounded<CarrierLabels, Counter>,
    unknown: Bounded<UnknownLabels, Counter>,
    segments: Bounded<CarrierCountryLabels, Counter>,
    cost: Bounded<CostLabels, Counter<f64, AtomicU64>>,
    in_flight: Gauge,
    request_seconds: Histogram,
    first_request_seconds: Bounded<CarrierLabels, Histogram>,
    answer_seconds: Bounded<CarrierLabels, Histogram>,
    delivery_seconds: Bounded<ChannelLabels, Histogram>,
}

impl DeliveryMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            names: Arc::clone(names),
            states: Bounded::counters(names),
            dispatches: Bounded::counters(names),
            corrections: Bounded::counters(names),
            attempts: Bounded::counters(names),
            requests: Bounded::counters(names),
            repeats: Bounded::counters(names),
            unknown: Bounded::counters(names),
            segments: Bounded::counters(names),
            cost: Bounded::new(names, Counter::default, 1),
            in_flight: Gauge::default(),
            request_seconds: Histogram::new(ANSWER),
            first_request_seconds: Bounded::histograms(
                names,
                || Histogram::new(FIRST_REQUEST),
                FIRST_REQUEST.len(),
            ),
            answer_seconds: Bounded::histograms(names, || Histogram::new(ANSWER), ANSWER.len()),
            delivery_seconds: Bounded::histograms(names, || Histogram::new(HANDSET), HANDSET.len()),
        };
        m.register_counts(r);
        m.register_times(r);
        m
    }

    fn register_counts(&self, r: &mut Registry) {
        r.register("attempts", "Attempts: requests to carriers, by outcome", self.attempts.family());
        r.register("requests", "Attempts by country and outcome", self.requests.family());
        r.register("repeats", "Attempts that repeat one with an unknown outcome", self.repeats.family());
        r.register("unknown_outcomes", "Attempts with an unknown outcome, by cause", self.unknown.family());
        r.register("segments", "Message parts that carriers charge, by country", self.segments.family());
        r.register(
            "cost",
            "Prices in carriers' answers, without those of later invoices",
            self.cost.family(),
        );
        r.register("states", "Published state changes: sent and final states", self.states.family());
        r.register("dispatches", "Dispatches that reached a final state", self.dispatches.family());
        r.register(
            "corrections",
            "Dispatches that became delivered after this other final state",
            self.corrections.family(),
        );
        r.register("in_flight", "Requests to carriers in progress", self.in_flight.clone());
    }

    fn register_times(&self, r: &mut Registry) {
        r.register_with_unit(
            "request",
            "Time from the begin of an attempt to its outcome",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        r.register_with_unit(
            "first_request",
            "Time from the admission of a dispatch until its first request is sent",
            Unit::Seconds,
            self.first_request_seconds.family(),
        );
        r.register_with_unit(
            "carrier_answer",
            "Time in which a carrier answers a request",
            Unit::Seconds,
            self.answer_seconds.family(),
        );
        r.register_with_unit(
            "delivery",
            "Time from the admission of a dispatch until the receipt that reports its delivery",
            Unit::Seconds,
            self.delivery_seconds.family(),
        );
    }

    /// Shows the counts of a carrier's channel as 0 until something is counted. Without this the first events are no increase for
    /// Prometheus.
    pub fn show_carrier(&self, carrier: &str, channel: Channel) {
        let (carrier, channel) = (self.names.get(carrier), channel.as_str());
        for outcome in Outcome::WORDS {
            self.attempts.with(&AttemptLabels { carrier: carrier.clone(), channel, outcome }, |_| ());
        }
    }

    /// Counts a published state change. `before` is the state before it; `None` if the dispatch began with this state.
    pub fn count_state(&self, before: Option<State>, state: State, channel: Channel, order: &Order) {
        self.states.with(&StateLabels { state: state.as_str() }, increment);
        if !state.is_final() {
            return;
        }
        let labels = |state: State| DispatchLabels {
            state: state.as_str(),
            channel: channel.as_str(),
            tenant: self.names.get(&order.tenant),
            country: order.country.as_deref().into(),
        };
        match before.filter(|before| before.is_final()) {
            None => self.dispatches.with(&labels(state), increment),
            Some(corrected) => self.corrections.with(&labels(corrected), increment),
        }
    }

    /// Records the time until a dispatch was delivered.
    pub fn observe_delivery(&self, channel: Channel, since_admission: Duration) {
        let labels = ChannelLabels { channel: channel.as_str() };
        self.delivery_seconds.with(&labels, |m| m.observe(since_admission.as_secs_f64()));
    }

    /// Counts the begin of an attempt. Call [`DeliveryMetrics::count_outcome`] at its end.
    pub fn count_begin(&self, attempt: &Attempt) {
        self.in_flight.inc();
        if attempt.repeats.is_some() {
            self.repeats.with(&self.carrier(attempt), increment);
        }
    }

    /// Requests to carriers in progress.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Records the time from the admission until the first request of a dispatch is sent.
    pub fn observe_first_request(&self, attempt: &Attempt, since_admission: Duration) {
        self.first_request_seconds.with(&self.carrier(attempt), |m| m.observe(since_admission.as_secs_f64()));
    }

    /// Records the time in which a carrier answered, or until the request was given up.
    pub fn observe_answer(&self, attempt: &Attempt, time: Duration) {
        self.answer_seconds.with(&self.carrier(attempt), |m| m.observe(time.as_secs_f64()));
    }

    /// Counts the outcome of a request. `since_begin` is the time since the begin was handed to the ledger.
    pub fn count_outcome(
        &self, attempt: &Attempt, country: Option<&str>, outcome: Outcome, details: &Details,
        since_begin: Duration,
    ) {
        self.in_flight.dec();
        self.request_seconds.observe(since_begin.as_secs_f64());
        let (carrier, channel) = (self.names.get(&attempt.carrier), attempt.channel.as_str());
        let outcome = match outcome {
            Outcome::NotSent(cause) if cause.is_own() => WITHHELD,
            outcome => outcome.word(),
        };
        self.attempts.with(&AttemptLabels { carrier: carrier.clone(), channel, outcome }, increment);
        let country = country.into();
        self.requests.with(&RequestLabels { carrier: carrier.clone(), channel, country, outcome }, increment);
        if let Some(segments) = details.segments {
            let labels = CarrierCountryLabels { carrier: carrier.clone(), country };
            self.segments.with(&labels, |m| m.inc_by(segments.into()));
        }
        if let Some((amount, currency)) = details.price.as_deref().and_then(price) {
            let labels = CostLabels { carrier, currency: self.names.get(currency) };
            self.cost.with(&labels, |m| m.inc_by(amount));
        }
    }

    /// Counts an attempt whose outcome is unknown, after that was written. `cause` is `answer` or `deadline`.
    pub fn count_unknown(&self, attempt: &Attempt, cause: Word) {
        let CarrierLabels { carrier, channel } = self.carrier(attempt);
        self.unknown.with(&UnknownLabels { carrier, channel, cause }, increment);
    }

    fn carrier(&self, attempt: &Attempt) -> CarrierLabels {
        CarrierLabels { carrier: self.names.get(&attempt.carrier), channel: attempt.channel.as_str() }
    }
}

/// Reads a price such as `-0.00750 USD`: the amount, which some carriers write as negative, and the currency of three capitals.
fn price(text: &str) -> Option<(f64, &str)> {
    let (amount, currency) = text.trim().split_once(' ')?;
    let amount = amount.parse::<f64>().ok().filter(|amount| amount.is_finite())?.abs();
    let is_currency = currency.len() == 3 && currency.bytes().all(|b| b.is_ascii_uppercase());
    is_currency.then_some((amount, currency))
}

#[cfg(test)]
mod tests {
    use super::price;

    /// Fails if a price without a currency is counted, or if a negative one lowers the sum.
    #[test]
    fn a_price_is_an_amount_and_a_currency() {
        assert_eq!(price("-0.00750 USD"), Some((0.0075, "USD")));
        assert_eq!(price("0.01 EUR"), Some((0.01, "EUR")));
        for odd in ["", "0.01", "0.01 ", "free USD", "NaN USD", "inf USD", "0.01 usd", "0.01 EURO"] {
            assert_eq!(price(odd), None, "{odd}");
        }
    }
}
