//! Outcomes of texts and calls, the same for every carrier.

use serde::{Deserialize, Serialize};

/// The channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channel {
    Sms,
    Voice,
}

/// The outcome of one request. Each carrier translates it into its own status words, codes and answers.
///
/// Outcomes of the other channel (such as `busy` for a text) are a plain delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Outcome {
    /// Texts: sent, delivered. Calls: ringing, answered by a person, completed.
    Deliver,
    /// The carrier sent it, and the phone's network did not accept it.
    Undelivered { error_code: Option<u32> },
    /// Accepted, but never left the carrier.
    Failed { error_code: Option<u32> },
    /// First undelivered, then delivered.
    LateDelivery,
    /// Accepted and sent, without any callback.
    Silent,
    /// The `delivered` callback is sent and answered before the answer to the request.
    ReceiptFirst,
    /// Delivered, but the request is answered only after this many milliseconds.
    Slow {
        #[serde(default = "Outcome::slow_ms")]
        ms: u64,
    },
    /// Accepted and recorded. Then the connection is closed without an answer, and there is no callback.
    HangUp,
    /// Not accepted, and the connection is closed without an answer.
    Lost,
    /// Accepted and recorded. Then there is no answer until the client disconnects or this many seconds have
    /// passed, and no callback.
    Hold {
        #[serde(default = "Outcome::hold_seconds")]
        seconds: u64,
    },
    /// Refused with 503.
    Unavailable,
    /// Refused with 500.
    ServerError,
    /// Refused with 429, and this many seconds in `Retry-After`.
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
    /// Refused: the recipient has unsubscribed.
    Unsubscribed,
    /// Refused: the account may not send to this region.
    NoPermission,
    /// Refused: no route from this sender to this number.
    Unroutable,
    /// Refused: the sender's queue is full.
    QueueFull,
    /// Refused: no such sender.
    InvalidSender,
    /// Refused: the sender belongs to another account.
    SenderNotOwned,
    /// Refused with any status and code, for codes without an outcome.
    Reject { status: u16, code: u32, message: Option<String> },
    /// Calls: busy.
    Busy,
    /// Calls: it rings and is not answered.
    NoAnswer,
    /// Calls: the phone's network refuses with this SIP response code.
    CallFailed {
        #[serde(default = "Outcome::sip_response_code")]
        sip_response_code: u16,
    },
    /// Calls: an answering machine picks up. It is reported only if the client requested machine detection.
    Machine,
    /// Calls: a person answers and presses no key.
    NoKey,
}

impl Outcome {
    const fn slow_ms() -> u64 {
        2_000
    }

    /// Longer than the time-out of any client.
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
            Self::NoKey => "no_key",
        }
    }

    /// Whether there are no callbacks.
    pub(crate) const fn has_no_callbacks(&self) -> bool {
        matches!(self, Self::Silent | Self::HangUp | Self::Hold { .. })
    }
}

/// An outcome in a script: only the word, or an object with the word and its parameters.
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
            "no_key",
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
