//! Outcomes of requests to carriers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reason::{NotSentCause, Reason, RefusalScope};
use crate::domain::words::UnknownWord;

/// The outcome of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The carrier accepted the request.
    Accepted,
    /// The carrier throttled the request. Nothing was accepted.
    Throttled {
        /// The delay that the carrier requests.
        retry_after: Option<Duration>,
    },
    /// The request was never sent.
    NotSent(NotSentCause),
    /// The carrier states that it accepted nothing. Only answers that the carrier's table lists as such count.
    Unavailable,
    /// The carrier may have accepted the request.
    Unknown,
    /// The carrier refuses the request, for this reason.
    Rejected(Reason),
    /// The carrier refuses our account or sender.
    Misconfigured(RefusalScope),
}

impl Outcome {
    /// The names of all outcomes: see [`Outcome::word`].
    pub const WORDS: [&str; 7] =
        ["accepted", "throttled", "not_sent", "unavailable", "unknown", "rejected", "misconfigured"];

    /// Returns the name of the outcome in the ledger.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Throttled { .. } => "throttled",
            Self::NotSent(_) => "not_sent",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Rejected(_) => "rejected",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// Returns the detail of the outcome in the ledger: cause, reason or scope.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::NotSent(cause) => Some(cause.as_str()),
            Self::Rejected(reason) => Some(reason.as_str()),
            Self::Misconfigured(scope) => Some(scope.as_str()),
            _ => None,
        }
    }

    /// Returns the delay that a throttling carrier requested, in the ledger's unit, rounded up.
    pub fn retry_after_ms(self) -> Option<i64> {
        match self {
            Self::Throttled { retry_after } => {
                retry_after.map(|d| i64::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX))
            }
            _ => None,
        }
    }

    /// Reads an outcome from its words in the ledger: [`Outcome::word`], [`Outcome::detail`] and [`Outcome::retry_after_ms`].
    ///
    /// # Errors
    ///
    /// Returns the error of a word that is not known.
    pub fn from_words(
        word: Option<&str>, detail: Option<&str>, retry_after_ms: Option<i64>,
    ) -> Result<Option<Self>, UnknownWord> {
        let unknown = UnknownWord("Outcome");
        let Some(word) = word else { return Ok(None) };
        let detail = detail.ok_or(unknown);
        let retry_after = retry_after_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
        Ok(Some(match word {
            "accepted" => Self::Accepted,
            "throttled" => Self::Throttled { retry_after },
            "not_sent" => Self::NotSent(detail?.parse()?),
            "unavailable" => Self::Unavailable,
            "unknown" => Self::Unknown,
            "rejected" => Self::Rejected(detail?.parse()?),
            "misconfigured" => Self::Misconfigured(detail?.parse()?),
            _ => return Err(unknown),
        }))
    }

    /// Returns the reason of a dispatch that ends with this outcome.
    pub fn reason(self) -> Reason {
        match self {
            Self::Accepted | Self::Unknown => Reason::Unknown,
            Self::Throttled { .. } => Reason::Throttled,
            Self::NotSent(_) => Reason::NotSent,
            Self::Unavailable => Reason::Unavailable,
            Self::Rejected(reason) => reason,
            Self::Misconfigured(RefusalScope::Account) => Reason::Account,
            Self::Misconfigured(RefusalScope::Narrow) => Reason::Permission,
        }
    }

    /// Returns whether the attempt counts toward the maximum number of requests of a step.
    pub fn counts(self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Misconfigured(_) => false,
            Self::NotSent(cause) => !cause.is_own(),
            _ => true,
        }
    }
}

/// Values from a carrier's answer besides the outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// The carrier's message id.
    pub message_id: Option<String>,
    /// The carrier's error code.
    pub carrier_code: Option<String>,
    /// Number of message parts that the carrier charges.
    pub segments: Option<u16>,
    /// The price as the carrier writes it, with its currency.
    pub price: Option<String>,
}

/// The interpreted answer of a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The outcome.
    pub outcome: Outcome,
    /// Other values from the answer.
    pub details: Details,
}

impl From<Outcome> for Judgement {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, details: Details::default() }
    }
}

/// An outcome as columns of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OutcomeColumns {
    outcome: Option<String>,
    detail: Option<String>,
    retry_after_ms: Option<i64>,
}

impl From<Outcome> for OutcomeColumns {
    fn from(o: Outcome) -> Self {
        let detail = o.detail().map(str::to_owned);
        Self { outcome: Some(o.word().to_owned()), detail, retry_after_ms: o.retry_after_ms() }
    }
}

impl TryFrom<OutcomeColumns> for Option<Outcome> {
    type Error = UnknownWord;

    fn try_from(c: OutcomeColumns) -> Result<Self, Self::Error> {
        Outcome::from_words(c.outcome.as_deref(), c.detail.as_deref(), c.retry_after_ms)
    }
}

/// An attempt's outcome as flat columns (`outcome`, `detail`, `retry_after_ms`), for `#[serde(flatten, with)]`.
pub(super) mod columns {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Outcome, OutcomeColumns};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(in crate::domain::attempt) fn serialize<S: Serializer>(
        o: &Option<Outcome>, s: S,
    ) -> Result<S::Ok, S::Error> {
        o.map_or_else(OutcomeColumns::default, OutcomeColumns::from).serialize(s)
    }

    pub(in crate::domain::attempt) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Outcome>, D::Error> {
        OutcomeColumns::deserialize(d)?.try_into().map_err(D::Error::custom)
    }
}
