//! Infobip: SMS v3 for texts. Each message has our own id (`messageId`). The carrier can be queried by this id, and it drops a
//! repeated message with the same id.
//!
//! Source: the official client infobip-api-python-client 6.0.0 (`SmsRequest`, `SmsResponse`, `SmsDeliveryResult`,
//! `SmsLogsResponse`), generated from the carrier's `OpenAPI`; docs page "Response status and error codes".

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::client::{Auth, Method};
use super::{
    AccountConfig, Answer, Callback, Carrier, InvalidCallback, OutboundMessage, Report, Request, Secret,
    checked_base_url, kept, strongest,
};
use crate::domain::attempt::{Details, Judgement, Outcome, Reason, Receipt, ReceiptStatus, RefusalScope};
use crate::domain::channel::Channel;
use crate::domain::dispatch::RenderedMessage;
use crate::domain::json;

/// Configuration of an account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The account's base URL, as the carrier's portal shows it: `https://….api.infobip.com`
    pub base_url: String,
    /// The API key, with permission to send texts and to read their logs.
    pub api_key: Option<SecretString>,
    /// File that contains the API key.
    pub api_key_file: Option<PathBuf>,
    /// The sender: a number, a short code or a name.
    pub from: String,
}

/// Maps status ids in the answer to a send request to outcomes, if they refuse the text.
fn outcome_of_code(id: i64) -> Option<Outcome> {
    Some(match id {
        8 | 51 | 52 => Outcome::Rejected(Reason::InvalidNumber),
        10 | 14 => Outcome::Rejected(Reason::Blocked),
        // The network, route or sender is refused, or the destination is not registered.
        6 | 11 | 13 | 18 | 19 => Outcome::Misconfigured(RefusalScope::Narrow),
        12 | 17 => Outcome::Misconfigured(RefusalScope::Account),
        // Too many texts to this number within an hour.
        20 => Outcome::Throttled { retry_after: None },
        // The status states that nothing was accepted.
        21 => Outcome::Unavailable,
        _ => return None,
    })
}

/// Maps status ids of a negative report to reasons.
fn reason_of(id: i64, error: Option<&StatusError>) -> Reason {
    match id {
        8 | 51 | 52 => Reason::InvalidNumber,
        10 | 14 => Reason::Blocked,
        6 | 11 | 13 | 18 | 19 => Reason::Permission,
        12 | 17 => Reason::Account,
        20 | 21 | 31 => Reason::Congestion,
        15 => Reason::CarrierExpired,
        4 | 9 => match error {
            Some(StatusError { id: Some(UNKNOWN_SUBSCRIBER), permanent: Some(true) }) => {
                Reason::InvalidNumber
            }
            Some(StatusError { permanent: Some(true), .. }) => Reason::Blocked,
            _ => Reason::Unreachable,
        },
        _ => Reason::Unexplained,
    }
}

/// `REJECTED_DUPLICATE_MESSAGE_ID`: the text was accepted before.
const DUPLICATE: i64 = 23;
/// `DELIVERED_TO_OPERATOR`: not yet delivered to the phone, although its group may be "delivered".
const WITH_OPERATOR: i64 = 2;
/// `EC_UNKNOWN_SUBSCRIBER`.
const UNKNOWN_SUBSCRIBER: i64 = 1;
/// Maximum validity in seconds. The carrier shortens longer values to 48 h.
const MAX_VALIDITY_S: u64 = 48 * 3600;

/// Ids of status groups.
mod group {
    pub(super) const ACCEPTED: i64 = 0;
    pub(super) const PENDING: i64 = 1;
    pub(super) const UNDELIVERABLE: i64 = 2;
    pub(super) const DELIVERED: i64 = 3;
    pub(super) const EXPIRED: i64 = 4;
    pub(super) const REJECTED: i64 = 5;
}

/// Body of `POST /sms/3/messages`.
#[derive(Serialize)]
struct Sending<'a> {
    messages: [Message<'a>; 1],
}

#[derive(Serialize)]
struct Message<'a> {
    sender: &'a str,
    destinations: [Destination<'a>; 1],
    content: Content<'a>,
    options: Options,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhooks: Option<Webhooks<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination<'a> {
    to: &'a str,
    message_id: &'a str,
}

#[derive(Serialize)]
struct Content<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    validity_period: Validity,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Validity {
    amount: u64,
    time_unit: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Webhooks<'a> {
    delivery: Reporting<'a>,
    content_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reporting<'a> {
    url: &'a str,
    intermediate_report: bool,
    notify: bool,
}

/// Answer to a send request, with one entry per message.
#[derive(Deserialize)]
struct SendAnswer {
    messages: Vec<MessageStatus>,
}

/// Body of a report or a log, with one entry per message.
#[derive(Deserialize)]
struct Reports {
    results: Vec<MessageStatus>,
}

/// The status of one message in an answer, a report or a log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStatus {
    message_id: Option<String>,
    status: Option<Status>,
    error: Option<StatusError>,
    details: Option<Parts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    group_id: i64,
    id: i64,
}

#[derive(Deserialize)]
struct StatusError {
    id: Option<i64>,
    permanent: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parts {
    message_count: Option<u16>,
}

/// An Infobip account.
pub struct Infobip {
    base_url: String,
    key: SecretString,
    from: String,
}

impl AccountConfig for Config {
    fn base_url(&self) -> &str {
        &self.base_url
    }

    fn secrets(&mut self) -> Vec<Secret<'_>> {
        vec![Secret { key: "api_key", value: &mut self.api_key, file: &mut self.api_key_file }]
    }

    fn open(&self) -> Result<Box<dyn Carrier>, String> {
        Ok(Box::new(Infobip::new(self.clone())?))
    }
}

impl Infobip {
    /// Creates an account. Returns the error text if the configuration is not valid.
    pub fn new(config: Config) -> Result<Self, String> {
        let base_url = checked_base_url(&config.base_url)?;
        let key = config.api_key.ok_or("needs api_key or api_key_file")?;
        if !key.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err("api_key must not contain spaces or line breaks".to_owned());
        }
        Ok(Self { base_url, key, from: config.from })
    }

    fn request(&self, method: Method, path: &str, body: Zeroizing<String>) -> Request {
        Request {
            method,
            url: format!("{}{path}", self.base_url),
            auth: Auth::Own("App", Zeroizing::new(self.key.expose_secret().to_owned())),
            content_type: "application/json",
            body,
        }
    }
}

impl Carrier for Infobip {
    fn carries(&self, channel: Channel) -> bool {
        channel == Channel::Sms
    }

    fn keeps_references(&self, channel: Channel) -> bool {
        self.carries(channel)
    }

    fn build(&self, message: &OutboundMessage<'_>) -> Option<Request> {
        let RenderedMessage::Text(text) = message.content else { return None };
        let message = Message {
            sender: message.sender.unwrap_or(&self.from),
            // The carrier expects digits only, without `+`.
            destinations: [Destination {
                to: message.to.expose().trim_start_matches('+'),
                message_id: message.reference,
            }],
            content: Content { text },
            options: Options {
                validity_period: Validity {
                    amount: message.life.as_secs().clamp(1, MAX_VALIDITY_S),
                    time_unit: "SECONDS",
                },
            },
            webhooks: message.callback.map(|url| Webhooks {
                delivery: Reporting { url, intermediate_report: true, notify: true },
                content_type: "application/json",
            }),
        };
        let body = serde_json::to_string(&Sending { messages: [message] }).expect("plain structs serialise");
        Some(self.request(Method::Post, "/sms/3/messages", Zeroizing::new(body)))
    }

    fn judge(&self, _: Channel, answer: &Answer) -> Judgement {
        if !answer.is_success() {
            let details = Details { carrier_code: error_code(answer), ..Details::default() };
            return Judgement { outcome: answer.outcome_by_status(), details };
        }
        // The carrier answers 200 for a refused text too.
        let said = answer.read::<SendAnswer>().and_then(|taken| taken.messages.into_iter().next());
        let Some(MessageStatus { message_id, status: Some(status), details, .. }) = said else {
            return Outcome::Unknown.into();
        };
        let message_id = message_id.as_deref().and_then(kept);
        let outcome = match (status.group_id, status.id) {
            (group::ACCEPTED | group::PENDING | group::DELIVERED, _) | (_, DUPLICATE) => {
                if message_id.is_some() { Outcome::Accepted } else { Outcome::Unknown }
            }
            (group::UNDELIVERABLE | group::EXPIRED | group::REJECTED, id) => {
                outcome_of_code(id).unwrap_or(Outcome::Rejected(Reason::Request))
            }
            _ => Outcome::Unknown,
        };
        let taken = outcome == Outcome::Accepted;
        let details = Details {
            message_id: message_id.filter(|_| taken),
            carrier_code: (!taken).then(|| status.id.to_string()),
            segments: details.and_then(|parts| parts.message_count),
            price: None,
        };
        Judgement { outcome, details }
    }

    fn advice(&self, judgement: &Judgement) -> &'static str {
        let id = judgement.details.carrier_code.as_deref().and_then(|code| code.parse::<i64>().ok());
        match (id, judgement.outcome) {
            (Some(12 | 17), _) => "the account has no credit: top it up in the carrier's portal",
            (Some(11 | 13), _) => {
                "check from and the tenants' senders: the carrier must have registered them"
            }
            (Some(18), _) => "the account sends to registered numbers only, as a trial account does",
            (Some(6 | 19), _) => {
                "the account has no route to this country or network: ask the carrier for one"
            }
            (_, Outcome::Misconfigured(RefusalScope::Account)) => {
                "check base_url and api_key, and the key's permission to send texts"
            }
            _ => "check its section in carriers",
        }
    }

    /// Relies on the token in the callback URL, because there is no signature to verify. Signatures are configured per subscription
    /// at the carrier, and are not documented for callback URLs of single messages.
    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Vec<Report>, InvalidCallback> {
        let reports: Reports = json::parse(callback.body).map_err(|_| InvalidCallback::Form)?;
        let report = |said: &MessageStatus| {
            let attempt = said.message_id.as_deref().and_then(|id| id.parse().ok());
            Some(Report { attempt, receipt: message_receipt(said)? })
        };
        Ok(reports.results.iter().filter_map(report).collect())
    }

    fn status_request(&self, channel: Channel, reference: &str) -> Option<Request> {
        let reference: String = form_urlencoded::byte_serialize(reference.as_bytes()).collect();
        let path = format!("/sms/3/logs?messageId={reference}");
        self.carries(channel).then(|| self.request(Method::Get, &path, Zeroizing::default()))
    }

    fn parse_status(&self, _: Channel, answer: &Answer) -> Option<Receipt> {
        let logs = (answer.status == 200).then(|| answer.read::<Reports>())??;
        strongest(logs.results.iter().filter_map(message_receipt))
    }
}

/// Returns the error code of an answer that refuses the whole request, in its newer or its older form. A value that is a sentence is
/// ignored.
fn error_code(answer: &Answer) -> Option<String> {
    let body = answer.json()?;
    let code = body.get("errorCode").or_else(|| body.pointer("/requestError/serviceException/messageId"));
    let is_code = |code: &&str| code.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    code?.as_str().filter(is_code).and_then(kept)
}

fn message_receipt(said: &MessageStatus) -> Option<Receipt> {
    let status = said.status.as_ref()?;
    let (reported, reason) = match (status.group_id, status.id) {
        (_, WITH_OPERATOR) | (group::ACCEPTED | group::PENDING, _) => (ReceiptStatus::Interim, None),
        (group::DELIVERED, _) => (ReceiptStatus::Delivered, None),
        // This is the report of a dropped repeat. The report of the first message counts.
        (_, DUPLICATE) => return None,
        (group::UNDELIVERABLE | group::EXPIRED | group::REJECTED, id) => {
            (ReceiptStatus::Bad, Some(reason_of(id, said.error.as_ref())))
        }
        _ => return None,
    };
    let carrier_code = (reported == ReceiptStatus::Bad).then(|| status.id.to_string());
    Some(Receipt {
        status: reported,
        reason,
        carrier_code,
        message_id: said.message_id.as_deref().and_then(kept),
    })
}

#[cfg(test)]
#[path = "infobip_tests.rs"]
mod tests;
