//! Texts: `POST /sms/3/messages` with one message to one number, and what its reports and its log say.

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
use crate::choice::digits;
use crate::config::Config;
use crate::courier::{Body, Callback, Patience, Trouble};
use crate::item::{Item, News};
use crate::outcome::Outcome;
use crate::record::{Asked, Progress, clip};
use crate::segments::segments;

const ID_AT_MOST: usize = 200;
const TO_AT_MOST: usize = 64;

/// A text.
pub(super) struct Message {
    /// Its sender's own, or one of ours.
    pub(super) id: String,
    pub(super) to: String,
    bulk: String,
    sender: String,
    text: String,
    report: Option<String>,
    intermediate: bool,
}

impl Message {
    /// Reads a request, and notes what it says whether it is taken or not. Other fields are passed over.
    pub(super) fn parse(body: &[u8], asked: &mut Asked) -> Result<Self, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::unreadable())?;
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let first = "/messages/0";
        let of = |rest: &str| text(&format!("{first}{rest}"));
        asked.to = of("/destinations/0/to").map(clip);
        asked.from = of("/sender").map(clip);
        asked.body = of("/content/text").map(clip);
        asked.status_callback = of("/webhooks/delivery/url").map(clip);
        let single =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_array).is_some_and(|all| all.len() == 1);
        if !single("/messages") || !single("/messages/0/destinations") {
            return Err(Refusal::unreadable());
        }
        let to = of("/destinations/0/to").filter(|to| to.len() <= TO_AT_MOST && !digits(to).is_empty());
        let id = of("/destinations/0/messageId").map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        if !(1..=ID_AT_MOST).contains(&id.len()) {
            return Err(Refusal::unreadable());
        }
        asked.validity_s = validity(body.pointer("/messages/0/options/validityPeriod"))?;
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

    /// What reports and logs have in common.
    fn told(&self, news: &News, at: Timestamp) -> Value {
        let permanent = news.error_code.is_some_and(|id| id != 9);
        let (id, name) = if permanent { (1, "EC_UNKNOWN_SUBSCRIBER") } else { (0, "NO_ERROR") };
        let at = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
        json!({
            "bulkId": self.bulk, "messageId": self.id, "sender": self.sender, "sentAt": at, "doneAt": at,
            "messageCount": segments(&self.text), "price": {"pricePerMessage": 0.01, "currency": "EUR"},
            "status": Status::of(news).json(),
            "error": {"groupId": 0, "groupName": "OK", "id": id, "name": name, "description": "", "permanent": permanent},
        })
    }
}

/// The validity in seconds.
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

impl Item for Message {
    fn course(&self, outcome: &Outcome) -> Vec<News> {
        // Twilio's codes in scripts and magic numbers are no ids of ours.
        let id = |code: Option<u32>| code.filter(|id| *id < 1000).unwrap_or(9);
        let (sent, delivered) = (News::of("pending"), News::of("delivered"));
        match outcome {
            Outcome::Undelivered { error_code } => vec![sent, News::error("undeliverable", id(*error_code))],
            Outcome::Failed { error_code } => vec![News::error("undeliverable", id(*error_code))],
            Outcome::LateDelivery => vec![sent, News::error("undeliverable", 9), delivered],
            quiet if quiet.keeps_quiet() => vec![sent],
            _ => vec![sent, delivered],
        }
    }

    fn wants(&self, news: &News) -> bool {
        self.intermediate || news.status != "pending"
    }

    fn callback(&self, news: &News, _: &Config) -> Option<Callback> {
        let mut report = self.told(news, crate::clock::now());
        report["to"] = json!(self.to);
        // The real one comes again in 1, 2, 5, 10 … minutes: 1 min + 1 min × n².
        let patience = Patience {
            retries: 3,
            retry_on: vec![Trouble::Connect, Trouble::Read, Trouble::Refused, Trouble::Broken],
            connect: Duration::from_secs(5),
            read: Duration::from_secs(15),
            total: Duration::from_secs(60),
        };
        let body = Body::Json(json!({ "results": [report] }));
        Some(Callback { url: self.report.clone()?, headers: HeaderMap::new(), body, patience })
    }

    fn resource(&self, progress: &Progress) -> Value {
        let mut log = self.told(&progress.news, progress.updated);
        log["destination"] = json!(self.to);
        log["sentAt"] = json!(
            progress.created.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string()
        );
        log["content"] = json!({"text": self.text});
        log
    }
}
