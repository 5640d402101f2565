//! Texts: `POST /sms/3/messages` with one message to one number, with reports and logs.

use std::time::Duration;

use axum::Json;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::Url;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::refusal::Refusal;
use super::status::Status;
use crate::callbacks::{Body, Callback, Failure, RetryPolicy};
use crate::carrier_message::{CarrierMessage, StateChange};
use crate::choice::digits;
use crate::config::Config;
use crate::outcome::Outcome;
use crate::record::{Progress, RequestRecord, clip};
use crate::segments::segments;

const MAX_ID_LENGTH: usize = 200;
const MAX_TO_LENGTH: usize = 64;

/// A text.
pub(super) struct Message {
    /// The id: the client's, or a generated one.
    pub(super) id: String,
    pub(super) to: String,
    bulk: String,
    sender: String,
    text: String,
    report: Option<String>,
    intermediate: bool,
}

impl Message {
    /// Parses a request and records it, whether or not it is accepted. Other fields are ignored.
    pub(super) fn parse(body: &[u8], request: &mut RequestRecord) -> Result<Self, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::unreadable())?;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let first = "/messages/0";
        let of = |rest: &str| text(&format!("{first}{rest}"));
        request.to = of("/destinations/0/to").map(clip);
        request.from = of("/sender").map(clip);
        request.body = of("/content/text").map(clip);
        request.status_callback = of("/webhooks/delivery/url").map(clip);
        let single =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_array).is_some_and(|all| all.len() == 1);
        if !single("/messages") || !single("/messages/0/destinations") {
            return Err(Refusal::unreadable());
        }
        let to = of("/destinations/0/to").filter(|to| to.len() <= MAX_TO_LENGTH && !digits(to).is_empty());
        let id = of("/destinations/0/messageId").map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        if !(1..=MAX_ID_LENGTH).contains(&id.len()) {
            return Err(Refusal::unreadable());
        }
        request.validity_s = validity(body.pointer("/messages/0/options/validityPeriod"))?;
        let report = of("/webhooks/delivery/url").map(str::to_owned);
        if report.as_ref().is_some_and(|url| Url::parse(url).is_err()) {
            return Err(Refusal::unreadable());
        }
        let flag =
            |name: &str| body.pointer(&format!("{first}/webhooks/delivery/{name}")).and_then(Value::as_bool);
        Ok(Self {
            id,
            to: to.ok_or_else(Refusal::unreadable)?.to_owned(),
            bulk: Uuid::new_v4().simple().to_string(),
            sender: of("/sender").ok_or_else(Refusal::unreadable)?.to_owned(),
            text: of("/content/text").ok_or_else(Refusal::unreadable)?.to_owned(),
            report: report.filter(|_| flag("notify") != Some(false)),
            intermediate: flag("intermediateReport") == Some(true),
        })
    }

    /// The answer to the request.
    pub(super) fn answer(&self, status: &Status) -> Json<Value> {
        Json(json!({"bulkId": self.bulk, "messages": [{
            "messageId": self.id, "status": status.json(), "destination": self.to,
            "details": {"messageCount": segments(&self.text)},
        }]}))
    }

    /// Returns the common fields of reports and logs.
    fn report_fields(&self, change: &StateChange, at: Timestamp) -> Value {
        let permanent = change.error_code.is_some_and(|id| id != 9);
        let (id, name) = if permanent { (1, "EC_UNKNOWN_SUBSCRIBER") } else { (0, "NO_ERROR") };
        let at = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
        json!({
            "bulkId": self.bulk, "messageId": self.id, "sender": self.sender, "sentAt": at, "doneAt": at,
            "messageCount": segments(&self.text), "price": {"pricePerMessage": 0.01, "currency": "EUR"},
            "status": Status::of(change).json(),
            "error": {"groupId": 0, "groupName": "OK", "id": id, "name": name, "description": "", "permanent": permanent},
        })
    }
}

/// Returns the validity in seconds.
fn validity(period: Option<&Value>) -> Result<Option<u32>, Refusal> {
    let Some(period) = period else { return Ok(None) };
    let unit = period.get("timeUnit").map_or(Some("MINUTES"), Value::as_str);
    let seconds = match unit {
        Some("SECONDS") => 1,
        Some("MINUTES") => 60,
        Some("HOURS") => 3600,
        _ => return Err(Refusal::unreadable()),
    };
    let amount = period.get("amount").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let amount = amount.filter(|n| *n > 0).ok_or_else(Refusal::unreadable)?;
    Ok(Some(amount.saturating_mul(seconds)))
}

impl CarrierMessage for Message {
    fn states(&self, outcome: &Outcome) -> Vec<StateChange> {
        // Twilio's codes in scripts and magic numbers are not ids of Infobip.
        let id = |code: Option<u32>| code.filter(|id| *id < 1000).unwrap_or(9);
        let (sent, delivered) = (StateChange::of("pending"), StateChange::of("delivered"));
        match outcome {
            Outcome::Undelivered { error_code } => {
                vec![sent, StateChange::error("undeliverable", id(*error_code))]
            }
            Outcome::Failed { error_code } => vec![StateChange::error("undeliverable", id(*error_code))],
            Outcome::LateDelivery => vec![sent, StateChange::error("undeliverable", 9), delivered],
            quiet if quiet.has_no_callbacks() => vec![sent],
            _ => vec![sent, delivered],
        }
    }

    fn wants(&self, change: &StateChange) -> bool {
        self.intermediate || change.status != "pending"
    }

    fn callback(&self, change: &StateChange, _: &Config) -> Option<Callback> {
        let mut report = self.report_fields(change, crate::clock::now());
        report["to"] = json!(self.to);
        // The real carrier retries after 1, 2, 5, 10 … minutes: 1 min + 1 min × n².
        let retry_policy = RetryPolicy {
            retries: 3,
            retry_on: vec![Failure::Connect, Failure::Read, Failure::Refused, Failure::Broken],
            connect: Duration::from_secs(5),
            read: Duration::from_secs(15),
            total: Duration::from_secs(60),
        };
        let body = Body::Json(json!({ "results": [report] }));
        Some(Callback { url: self.report.clone()?, headers: HeaderMap::new(), body, retry_policy })
    }

    fn resource(&self, progress: &Progress) -> Value {
        let mut log = self.report_fields(&progress.change, progress.updated);
        log["destination"] = json!(self.to);
        log["sentAt"] = json!(
            progress.created.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
        );
        log["content"] = json!({"text": self.text});
        log
    }
}
