//! Metrics. Labels are constants or names from the configuration, never values of a user.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::challenge::{ChallengeState, Proof, Purpose};
use crate::flow::{Answered, DispatchEvent, Entered};
use crate::store::OutboxKind;

/// A label value.
type Word = &'static str;

/// `product`, `purpose`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChallengeLabels {
    product: String,
    purpose: Word,
}

/// `product`, `purpose`, `method`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProofLabels {
    product: String,
    purpose: Word,
    method: Word,
}

/// `product`, `result`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabels {
    product: String,
    result: Word,
}

/// `kind`, `result`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutboxLabels {
    kind: Word,
    result: Word,
}

/// `channel`, `state`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DispatchLabels {
    channel: Word,
    state: Word,
}

/// The result of an attempt to publish an outbox row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// Published.
    Done,
    /// Will be retried.
    Again,
    /// Expired.
    Dropped,
}

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    challenges: Family<ChallengeLabels, Counter>,
    verified: Family<ProofLabels, Counter>,
    entries: Family<EntryLabels, Counter>,
    outbox: Family<OutboxLabels, Counter>,
    deliveries: Family<DispatchLabels, Counter>,
    waiting: Gauge,
    oldest: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut m = Self {
            registry: Registry::with_prefix("two_step"),
            challenges: Family::default(),
            verified: Family::default(),
            entries: Family::default(),
            outbox: Family::default(),
            deliveries: Family::default(),
            waiting: Gauge::default(),
            oldest: Gauge::default(),
        };
        let r = &mut m.registry;
        r.register("challenges", "Challenges that back ends created", m.challenges.clone());
        r.register("verified", "Verified challenges, by method", m.verified.clone());
        r.register("entries", "Entered codes, by result", m.entries.clone());
        r.register("outbox", "Publish attempts of outbox rows, by kind and result", m.outbox.clone());
        r.register("deliveries", "Delivery states that otpost reported", m.deliveries.clone());
        r.register("outbox_waiting", "Rows in the outbox now", m.waiting.clone());
        let about = "Age of the oldest row in the outbox";
        r.register_with_unit("outbox_oldest", about, Unit::Seconds, m.oldest.clone());
        m
    }
}

impl Metrics {
    /// Returns all metrics in the `OpenMetrics` text format. `waiting` is the number of outbox rows and the age of the
    /// oldest in seconds.
    pub fn text(&self, waiting: i64, oldest_s: i64) -> String {
        self.waiting.set(waiting);
        self.oldest.set(oldest_s);
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }

    /// Counts a challenge that a back end created.
    pub(crate) fn count_challenge(&self, product: &str, purpose: Purpose) {
        self.challenges
            .get_or_create(&ChallengeLabels { product: product.to_owned(), purpose: purpose.into() })
            .inc();
    }

    /// Counts a verified challenge.
    pub(crate) fn count_proof(&self, product: &str, purpose: Purpose, proof: Option<Proof>) {
        let method = proof.map_or("none", Word::from);
        self.verified
            .get_or_create(&ProofLabels { product: product.to_owned(), purpose: purpose.into(), method })
            .inc();
    }

    /// Counts an entry on a page or over the API.
    pub(crate) fn count_entry(&self, product: &str, entered: &Entered) {
        self.entry(
            product,
            match entered {
                Entered::Verified { .. } => "right",
                Entered::Wrong { .. } => "wrong",
                Entered::Ended { state: ChallengeState::Locked, .. } => "locked",
                Entered::Unreadable => "unreadable",
                Entered::Paused { .. } => "paused",
                Entered::Ended { .. } => "late",
            },
        );
    }

    /// Counts digits that were typed into an app.
    pub(crate) fn count_app_entry(&self, product: &str, answered: &Answered) {
        self.entry(
            product,
            match answered {
                Answered::Approved => "right",
                Answered::Wrong { .. } => "wrong",
                Answered::Ended(ChallengeState::Locked) => "locked",
                Answered::Unreadable => "unreadable",
                Answered::Paused { .. } => "paused",
                Answered::Denied { .. } | Answered::Replaced | Answered::Ended(_) => "late",
            },
        );
    }

    fn entry(&self, product: &str, result: &'static str) {
        self.entries.get_or_create(&EntryLabels { product: product.to_owned(), result }).inc();
    }

    /// Counts an attempt to publish an outbox row.
    pub(crate) fn count_outbox_row(&self, kind: OutboxKind, outcome: Outcome) {
        self.outbox.get_or_create(&OutboxLabels { kind: kind.into(), result: outcome.into() }).inc();
    }

    /// Counts an event of a text or call.
    pub(crate) fn count_dispatch_event(&self, event: &DispatchEvent) {
        let channel = event.channel.map_or("none", Word::from);
        self.deliveries.get_or_create(&DispatchLabels { channel, state: event.state.into() }).inc();
    }
}
