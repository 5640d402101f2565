//! What can become of a text or a call, in words that are the same for every carrier.

use serde::{Deserialize, Serialize};

/// How a code travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channel {
    Sms,
    Voice,
}

/// What becomes of one request. Each carrier translates it into its own status words, codes and answers.
///
/// Outcomes that only make sense for the other channel (a text that is busy) are a plain delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Outcome {
    /// Texts: sent, delivered. Calls: ringing, answered by a human, completed.
    Deliver,
    /// The carrier sent it; the phone's network did not take it.
    Undelivered { error_code: Option<u32> },
    /// Accepted, but never left the carrier.
    Failed { error_code: Option<u32> },
    /// First undelivered, then delivered after all.
    LateDelivery,
    /// Accepted and sent; no callback, ever.
    Silent,
    /// The callback that says delivered is sent, and answered, before the request itself is answered.
    ReceiptFirst,
    /// Delivered, but the request is answered only after this many milliseconds.
    Slow {
        #[serde(default = "Outcome::slow_ms")]
        ms: u64,
    },
    /// Accepted and put on record; then the connection is closed without an answer. No callback.
    HangUp,
    /// Nothing is accepted, and the connection is closed without an answer.
    Lost,
    /// Accepted and put on record; then no answer until the client goes or this many seconds are over. No
    /// callback.
    Hold {
        #[serde(default = "Outcome::hold_seconds")]
        seconds: u64,
    },
    /// Refused: the carrier is out of service for the moment (503).
    Unavailable,
    /// Refused: the carrier broke (500).
    ServerError,
    /// Refused: too many requests (429), come back after this many seconds.
    Throttle {
        #[serde(default = "Outcome::retry_after_s")]
        retry_after_s: u64,
    },
    /// Refused: wrong credentials.
    Unauthorized,
    /// Refused: no such number.
    InvalidNumber,
    /// Refused: a landline.
    NotMobile,
    /// Refused: this person asked never to be written to again.
    Unsubscribed,
    /// Refused: the account may not send to this region.
    NoPermission,
    /// Refused: no route from this sender to this number.
    Unroutable,
    /// Refused: the sender has too much waiting already.
    QueueFull,
    /// Refused: no such sender.
    InvalidSender,
    /// Refused: the sender belongs to somebody else.
    SenderNotOwned,
    /// Refused with any status and code, for the rest of a carrier's table.
    Reject { status: u16, code: u32, message: Option<String> },
    /// Calls: the line is busy.
    Busy,
    /// Calls: it rings and nobody answers.
    NoAnswer,
    /// Calls: the phone's network refuses, with this SIP response code.
    CallFailed {
        #[serde(default = "Outcome::sip_response_code")]
        sip_response_code: u16,
    },
    /// Calls: an answering machine picks up; said so only if the caller asked to be told.
    Machine,
}

impl Outcome {
    const fn slow_ms() -> u64 {
        2_000
    }

    /// Longer than any sane client waits.
    const fn hold_seconds() -> u64 {
        60
    }

    const fn retry_after_s() -> u64 {
        1
    }

    /// Not Found.
    const fn sip_response_code() -> u16 {
        404
    }

    /// The word that scripts and the record use.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Undelivered { .. } => "undelivered",
            Self::Failed { .. } => "failed",
            Self::LateDelivery => "late_delivery",
            Self::Silent => "silent",
            Self::ReceiptFirst => "receipt_first",
            Self::Slow { .. } => "slow",
            Self::HangUp => "hang_up",
            Self::Lost => "lost",
            Self::Hold { .. } => "hold",
            Self::Unavailable => "unavailable",
            Self::ServerError => "server_error",
            Self::Throttle { .. } => "throttle",
            Self::Unauthorized => "unauthorized",
            Self::InvalidNumber => "invalid_number",
            Self::NotMobile => "not_mobile",
            Self::Unsubscribed => "unsubscribed",
            Self::NoPermission => "no_permission",
            Self::Unroutable => "unroutable",
            Self::QueueFull => "queue_full",
            Self::InvalidSender => "invalid_sender",
            Self::SenderNotOwned => "sender_not_owned",
            Self::Reject { .. } => "reject",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::CallFailed { .. } => "call_failed",
            Self::Machine => "machine",
        }
    }

    /// Whether nothing is told back, so that the customer has to find out by other means.
    pub(crate) const fn keeps_quiet(&self) -> bool {
        matches!(self, Self::Silent | Self::HangUp | Self::Hold { .. })
    }
}

/// An outcome as a script spells it: the bare word, or an object with the word and its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(crate) struct Spelled(pub(crate) Outcome);

impl TryFrom<serde_json::Value> for Spelled {
    type Error = serde_json::Error;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        let object = match value {
            serde_json::Value::String(word) => serde_json::json!({ "outcome": word }),
            other => other,
        };
        serde_json::from_value(object).map(Spelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Outcome, serde_json::Error> {
        serde_json::from_str::<Spelled>(json).map(|spelled| spelled.0)
    }

    #[test]
    fn the_word_of_an_outcome_is_the_word_that_scripts_use() {
        for word in [
            "deliver",
            "undelivered",
            "failed",
            "late_delivery",
            "silent",
            "receipt_first",
            "slow",
            "hang_up",
            "lost",
            "hold",
            "unavailable",
            "server_error",
            "throttle",
            "unauthorized",
            "invalid_number",
            "not_mobile",
            "unsubscribed",
            "no_permission",
            "unroutable",
            "queue_full",
            "invalid_sender",
            "sender_not_owned",
            "busy",
            "no_answer",
            "call_failed",
            "machine",
        ] {
            assert_eq!(read(&format!("\"{word}\"")).unwrap().word(), word);
        }
    }

    #[test]
    fn parameters_go_into_an_object_and_have_defaults() {
        assert_eq!(read(r#"{"outcome":"slow","ms":1500}"#).unwrap(), Outcome::Slow { ms: 1500 });
        assert_eq!(read(r#""slow""#).unwrap(), Outcome::Slow { ms: 2000 });
        assert_eq!(
            read(r#"{"outcome":"undelivered","error_code":30005}"#).unwrap(),
            Outcome::Undelivered { error_code: Some(30005) }
        );
        assert_eq!(
            read(r#"{"outcome":"reject","status":400,"code":21635}"#).unwrap(),
            Outcome::Reject { status: 400, code: 21635, message: None }
        );
    }

    #[test]
    fn a_misspelt_outcome_or_parameter_is_refused() {
        assert!(read(r#""delivered""#).is_err());
        assert!(read(r#"{"outcome":"slow","seconds":2}"#).is_err());
    }
}
