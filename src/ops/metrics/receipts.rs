//! Callbacks of carriers, and what they and the senders report about deliveries.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::bounded::{Bounded, increment};
use super::delivery::HANDSET;
use super::labels::{
    CarrierLabels, FinalReceiptLabels, Names, ReceiptCountryLabels, ReceiptLabels, VerifiedLabels, Word,
};
use crate::domain::attempt::ReceiptStatus;
use crate::domain::channel::Channel;

/// Counts and times of receipts.
#[derive(Debug)]
pub struct ReceiptMetrics {
    names: Arc<Names>,
    receipts: Bounded<ReceiptLabels, Counter>,
    finals: Bounded<FinalReceiptLabels, Counter>,
    by_country: Bounded<ReceiptCountryLabels, Counter>,
    handset_seconds: Bounded<CarrierLabels, Histogram>,
    verified: Bounded<VerifiedLabels, Counter>,
}

impl ReceiptMetrics {
    pub(super) fn new(names: &Arc<Names>, r: &mut Registry) -> Self {
        let m = Self {
            names: Arc::clone(names),
            receipts: Bounded::counters(names),
            finals: Bounded::counters(names),
            by_country: Bounded::counters(names),
            handset_seconds: Bounded::histograms(names, || Histogram::new(HANDSET), HANDSET.len()),
            verified: Bounded::counters(names),
        };
        r.register("receipts", "Callbacks of carriers, by status", m.receipts.family());
        r.register("final_receipts", "Final receipts that changed an attempt", m.finals.family());
        r.register(
            "country_receipts",
            "Final receipts that changed an attempt, by country",
            m.by_country.family(),
        );
        r.register_with_unit(
            "handset",
            "Time from the begin of an attempt until the receipt that reports its delivery",
            Unit::Seconds,
            m.handset_seconds.family(),
        );
        r.register("verified", "Dispatches whose code was reported as entered", m.verified.family());
        m
    }

    /// Shows the final receipts of a carrier as 0 until one is counted.
    pub fn show_carrier(&self, carrier: &str) {
        for status in [ReceiptStatus::Delivered, ReceiptStatus::Bad] {
            let labels = FinalReceiptLabels { carrier: self.names.get(carrier), status: status.as_str() };
            self.finals.with(&labels, |_| ());
        }
    }

    /// Counts a callback. `verdict` is the status of its receipt, or why it was rejected.
    pub fn count_callback(&self, carrier: &str, verdict: Word) {
        self.receipts.with(&ReceiptLabels { carrier: self.names.get(carrier), verdict }, increment);
    }

    /// Counts a final receipt that changed an attempt. `since_begin` is the time from the begin of the attempt to the record of the receipt.
    /// A receipt that corrects an earlier one is timed, but not counted: an attempt counts once.
    pub fn count_receipt(
        &self, carrier: &str, channel: Channel, country: Option<&str>, since_begin: Duration,
        status: ReceiptStatus, corrects: bool,
    ) {
        let (carrier, channel) = (self.names.get(carrier), channel.as_str());
        if !corrects {
            let (country, status) = (country.into(), status.as_str());
            self.finals.with(&FinalReceiptLabels { carrier: carrier.clone(), status }, increment);
            let labels = ReceiptCountryLabels { carrier: carrier.clone(), channel, country, status };
            self.by_country.with(&labels, increment);
        }
        if status == ReceiptStatus::Delivered {
            let labels = CarrierLabels { carrier, channel };
            self.handset_seconds.with(&labels, |m| m.observe(since_begin.as_secs_f64()));
        }
    }

    /// Counts a dispatch whose sender reported the code as entered, once for each dispatch. The carrier is that of its newest accepted
    /// attempt.
    pub fn count_verified(&self, carrier: &str, country: Option<&str>, tenant: &str) {
        let labels = VerifiedLabels {
            carrier: self.names.get(carrier),
            country: country.into(),
            tenant: self.names.get(tenant),
        };
        self.verified.with(&labels, increment);
    }
}
