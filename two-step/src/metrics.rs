//! What is counted. Labels are words of ours or names from the configuration: never a value of a user.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::challenge::{ChallengeState, Proof, Purpose};
use crate::flow::{Answered, Entered, Heard};
use crate::store::OutboxKind;

/// A word as a label.
type Word = &'static str;

/// `product`, `purpose`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    product: String,
    purpose: Word,
}

/// `product`, `purpose`, `method`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Proved {
    product: String,
    purpose: Word,
    method: Word,
}

/// `product`, `result`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Typed {
    product: String,
    result: Word,
}

/// `kind`, `result`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Published {
    kind: Word,
    result: Word,
}

/// `channel`, `state`
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    channel: Word,
    state: Word,
}

/// The outcome of a try with an outbox row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// It is out.
    Done,
    /// It is tried again later.
    Again,
    /// Its time was over.
    Dropped,
}

/// All that is counted in a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    challenges: Family<Asked, Counter>,
    verified: Family<Proved, Counter>,
    entries: Family<Typed, Counter>,
    outbox: Family<Published, Counter>,
    deliveries: Family<Told, Counter>,
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
        r.register("verified", "Challenges that were proved, by the method", m.verified.clone());
        r.register("entries", "What was typed, by its result", m.entries.clone());
        r.register("outbox", "Jobs, acts, mails and webhooks, by what became of them", m.outbox.clone());
        r.register("deliveries", "What otpost said of texts and calls", m.deliveries.clone());
        r.register("outbox_waiting", "Rows in the outbox now", m.waiting.clone());
        let about = "Age of the oldest row in the outbox";
        r.register_with_unit("outbox_oldest", about, Unit::Seconds, m.oldest.clone());
        m
    }
}

impl Metrics {
    /// All of it, in the `OpenMetrics` text format. `waiting` rows are in the outbox, the oldest for so many seconds.
    pub fn text(&self, waiting: i64, oldest_s: i64) -> String {
        self.waiting.set(waiting);
        self.oldest.set(oldest_s);
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }

    /// A back end created a challenge.
    pub(crate) fn asked(&self, product: &str, purpose: Purpose) {
        self.challenges.get_or_create(&Asked { product: product.to_owned(), purpose: purpose.into() }).inc();
    }

    /// A challenge was proved.
    pub(crate) fn proved(&self, product: &str, purpose: Purpose, proof: Option<Proof>) {
        let method = proof.map_or("none", Word::from);
        self.verified
            .get_or_create(&Proved { product: product.to_owned(), purpose: purpose.into(), method })
            .inc();
    }

    /// Something was typed on a page.
    pub(crate) fn typed(&self, product: &str, entered: &Entered) {
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

    /// The number of a page was typed into an app.
    pub(crate) fn typed_into_app(&self, product: &str, answered: &Answered) {
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
        self.entries.get_or_create(&Typed { product: product.to_owned(), result }).inc();
    }

    /// An outbox row was taken up.
    pub(crate) fn published(&self, kind: OutboxKind, outcome: Outcome) {
        self.outbox.get_or_create(&Published { kind: kind.into(), result: outcome.into() }).inc();
    }

    /// otpost said how far a text or call has come.
    pub(crate) fn heard(&self, heard: &Heard) {
        let channel = heard.channel.map_or("none", Word::from);
        self.deliveries.get_or_create(&Told { channel, state: heard.state.into() }).inc();
    }
}
