//! Label values. None of them is a value of a job: they are words of this program, names from the configuration, or ISO codes.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::domain::delivery_cell::{OTHER, UNKNOWN_COUNTRY};

/// A label value from a closed set.
pub(super) type Word = &'static str;

/// Maximum number of names that are kept. Further ones become `other`.
const MAX_NAMES: usize = 1000;

/// A name of a carrier, a tenant, a currency or a quota rule. Cloning it allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name(Arc<str>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

/// The names that were used so far, so that a further use allocates nothing.
#[derive(Debug)]
pub(super) struct Names {
    known: RwLock<HashSet<Arc<str>>>,
    other: Name,
}

impl Default for Names {
    fn default() -> Self {
        Self { known: RwLock::default(), other: Name(Arc::from(OTHER)) }
    }
}

impl Names {
    /// Returns a name as a label value.
    pub(super) fn get(&self, name: &str) -> Name {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Name(Arc::clone(known));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_NAMES && !known.contains(name) {
            return self.other.clone();
        }
        let name: Arc<str> = Arc::from(name);
        known.insert(Arc::clone(&name));
        Name(name)
    }

    /// The value `other`.
    pub(super) fn other(&self) -> Name {
        self.other.clone()
    }
}

/// The country of a number: an ISO 3166 code, `??` if it is not known, or `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CountryLabel(Country);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Country {
    Code([u8; 2]),
    Unknown,
    Other,
}

impl CountryLabel {
    const OTHER: Self = Self(Country::Other);
}

impl From<Option<&str>> for CountryLabel {
    /// Anything but two capitals is `??`.
    fn from(code: Option<&str>) -> Self {
        let code = code.and_then(|code| <[u8; 2]>::try_from(code.as_bytes()).ok());
        Self(
            code.filter(|code| code.iter().all(u8::is_ascii_uppercase))
                .map_or(Country::Unknown, Country::Code),
        )
    }
}

impl EncodeLabelValue for CountryLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let text = match &self.0 {
            Country::Code(code) => std::str::from_utf8(code).unwrap_or(UNKNOWN_COUNTRY),
            Country::Unknown => UNKNOWN_COUNTRY,
            Country::Other => OTHER,
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

/// Labels whose values may be very many together.
pub(super) trait Overflowing {
    /// The same labels, with `other` for each name and country.
    fn overflow(&self, other: &Name) -> Self;
}

/// Part of [`Overflowing::overflow`]: a word stays, and a name or a country becomes `other`.
trait Value {
    fn overflow(&self, other: &Name) -> Self;
}

impl Value for Word {
    fn overflow(&self, _: &Name) -> Self {
        self
    }
}

impl Value for Name {
    fn overflow(&self, other: &Name) -> Self {
        other.clone()
    }
}

impl Value for CountryLabel {
    fn overflow(&self, _: &Name) -> Self {
        Self::OTHER
    }
}

/// Defines a set of labels: each field is a label.
macro_rules! label_set {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $($(#[$field_meta])* pub(super) $field: $type),+ }

        impl Overflowing for $name {
            fn overflow(&self, other: &Name) -> Self {
                Self { $($field: Value::overflow(&self.$field, other)),+ }
            }
        }
    };
}

label_set! {
    /// Of jobs received.
    AdmissionLabels {
        /// Where the job came from: `amqp` or `http`.
        door: Word,
        /// The result: over AMQP the state of the new row, `known`, `conflict`, `dead` or `suspect`; over HTTP `queued`, `known`,
        /// `conflict`, `limited`, `refused`, `denied` or `away`.
        result: Word,
    }
}
label_set! {
    /// Of jobs refused.
    RefusalLabels {
        /// Where the job came from: `amqp` or `http`.
        door: Word,
        /// The reason of the refusal.
        reason: Word,
    }
}
label_set! {
    /// Of refusals by a quota.
    QuotaLabels {
        /// The quota: `number`, `operator` or `channel`.
        quota: Word,
        /// The rule that was full, such as `5/10m`.
        rule: Name,
    }
}
label_set! {
    /// Of acts.
    ActLabels {
        /// The act: `verified`, `not_verified`, `next` or `cancel`.
        act: Word,
        /// The result: `done`, `nothing`, `barred` or `unknown`.
        result: Word,
    }
}
label_set! {
    /// Of attempts.
    AttemptLabels {
        /// The configured carrier.
        carrier: Name,
        /// The channel: `sms` or `voice`.
        channel: Word,
        /// The attempt's outcome.
        outcome: Word,
    }
}
label_set! {
    /// Of attempts by country.
    RequestLabels {
        /// The configured carrier.
        carrier: Name,
        /// The channel: `sms` or `voice`.
        channel: Word,
        /// The country of the number.
        country: CountryLabel,
        /// The attempt's outcome.
        outcome: Word,
    }
}
label_set! {
    /// Of a carrier's channel.
    CarrierLabels {
        /// The configured carrier.
        carrier: Name,
        /// The channel: `sms` or `voice`.
        channel: Word,
    }
}
label_set! {
    /// Of an account.
    AccountLabels {
        /// The configured carrier.
        carrier: Name,
    }
}
label_set! {
    /// Of attempts with an unknown outcome.
    UnknownLabels {
        /// The configured carrier.
        carrier: Name,
        /// The channel: `sms` or `voice`.
        channel: Word,
        /// The cause: `answer` (none, or one that cannot be read) or `deadline` (its worker wrote no outcome in time).
        cause: Word,
    }
}
label_set! {
    /// Of a carrier in a country.
    CarrierCountryLabels {
        /// The configured carrier.
        carrier: Name,
        /// The country of the number.
        country: CountryLabel,
    }
}
label_set! {
    /// Of prices.
    CostLabels {
        /// The configured carrier.
        carrier: Name,
        /// The currency, as the carrier writes it.
        currency: Name,
    }
}
label_set! {
    /// Of dispatches.
    DispatchLabels {
        /// The state of the dispatch.
        state: Word,
        /// The channel of the attempt that led to the state, or of the current step.
        channel: Word,
        /// The configured tenant.
        tenant: Name,
        /// The country of the number.
        country: CountryLabel,
    }
}
label_set! {
    /// Of dispatches by channel.
    ChannelLabels {
        /// The channel: `sms` or `voice`.
        channel: Word,
    }
}
label_set! {
    /// Of callbacks.
    ReceiptLabels {
        /// The configured carrier.
        carrier: Name,
        /// The status of the receipt, or why the callback was rejected.
        verdict: Word,
    }
}
label_set! {
    /// Of final receipts.
    FinalReceiptLabels {
        /// The configured carrier.
        carrier: Name,
        /// The status: `delivered` or `bad`.
        status: Word,
    }
}
label_set! {
    /// Of final receipts by country.
    ReceiptCountryLabels {
        /// The configured carrier.
        carrier: Name,
        /// The channel: `sms` or `voice`.
        channel: Word,
        /// The country of the number.
        country: CountryLabel,
        /// The status: `delivered` or `bad`.
        status: Word,
    }
}
label_set! {
    /// Of verified dispatches.
    VerifiedLabels {
        /// The configured carrier.
        carrier: Name,
        /// The country of the number.
        country: CountryLabel,
        /// The configured tenant.
        tenant: Name,
    }
}
label_set! {
    /// Of deliveries to webhooks.
    WebhookLabels {
        /// The configured tenant.
        tenant: Name,
        /// The result: `told` (delivered), `failed` or `given_up`.
        result: Word,
    }
}
label_set! {
    /// Of state changes.
    StateLabels {
        /// A state of a dispatch.
        state: Word,
    }
}
label_set! {
    /// Of queues.
    QueueLabels {
        /// A queue of otpost.
        queue: Word,
    }
}
label_set! {
    /// Of connections to RabbitMQ.
    ConnectionLabels {
        /// What the connection is for.
        connection: Word,
    }
}
label_set! {
    /// Of the outbox.
    OutboxLabels {
        /// The receiver of the events: `broker` or `webhook`.
        receiver: Word,
    }
}
label_set! {
    /// Of operations of the ledger.
    OperationLabels {
        /// The operation.
        operation: Word,
    }
}
label_set! {
    /// Of errors of the ledger.
    LedgerErrorLabels {
        /// The operation.
        operation: Word,
        /// The kind of the error.
        kind: Word,
    }
}
label_set! {
    /// Of connections to the ledger.
    PoolLabels {
        /// The state: `idle` or `in_use`.
        state: Word,
    }
}
label_set! {
    /// Of bounded maps.
    MapLabels {
        /// The map.
        map: Word,
    }
}
label_set! {
    /// Of the build.
    BuildLabels {
        /// The version of otpost.
        version: Word,
        /// Whether it is a debug or a release build.
        profile: Word,
    }
}
