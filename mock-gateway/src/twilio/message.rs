//! Messages: `POST …/Messages.json`, reading one back, and what its status callbacks say.

use jiff::tz::TimeZone;
use serde_json::json;

use super::problem::{Problem, invalid_number, invalid_sender};
use super::request::Form;
use super::status_callback::Address;
use super::{API_VERSION, Resource, is_e164, new_sid, rfc2822};
use crate::clock;
use crate::config::Config;
use crate::courier::Callback;
use crate::item::{Item, News};
use crate::outcome::{Channel, Outcome};
use crate::record::{Asked, Progress, clip};
use crate::segments::segments;

/// The sender that a Messaging Service picks: the one number that Twilio's test credentials own.
const POOL_NUMBER: &str = "+15005550006";

const BODY_AT_MOST: usize = 1_600;

/// A message that was accepted.
pub(super) struct Message {
    sid: String,
    account: String,
    to: String,
    from: String,
    service: Option<String>,
    body: String,
    address: Option<Address>,
}

impl Resource for Message {
    const CHANNEL: Channel = Channel::Sms;

    fn parse(form: &Form, asked: &mut Asked) -> Result<Self, Problem> {
        let service = form.get("MessagingServiceSid");
        let pool = service.map(|_| POOL_NUMBER);
        asked.to = form.get("To").map(clip);
        asked.from = form.get("From").or(pool).map(clip);
        asked.body = form.get("Body").map(clip);
        asked.status_callback = form.get("StatusCallback").map(clip);

        // The code for a missing `To` is unverified.
        let to =
            form.get("To").ok_or_else(|| Problem::parameter(21604, "A 'To' phone number is required."))?;
        if !is_e164(to) {
            return Err(invalid_number(21211, to));
        }
        let from = form
            .get("From")
            .or(pool)
            .ok_or_else(|| Problem::parameter(21603, "A 'From' number is required."))?;
        if !is_sender(from) {
            return Err(invalid_sender(from));
        }
        if let Some(service) = service.filter(|sid| !is_service_sid(sid)) {
            // Unverified.
            return Err(Problem::parameter(21701, format!("The Messaging Service {service} does not exist")));
        }
        asked.validity_s = form.get("ValidityPeriod").map(validity).transpose()?;
        Ok(Self {
            sid: new_sid("SM"),
            account: asked.account.clone(),
            to: to.to_owned(),
            from: from.to_owned(),
            service: service.map(str::to_owned),
            body: body(form)?,
            address: Address::parse(form)?,
        })
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn first_status(&self) -> &'static str {
        if self.service.is_some() { "accepted" } else { "queued" }
    }
}

/// The text. A message may be a picture or a template instead; then its address stands for it.
fn body(form: &Form) -> Result<String, Problem> {
    let body = ["Body", "MediaUrl", "ContentSid"].into_iter().find_map(|name| form.get(name));
    let body = body
        .ok_or_else(|| Problem::parameter(21619, "A text message body or media urls must be specified."))?;
    if body.chars().count() > BODY_AT_MOST {
        // The number is unverified.
        let message = "The concatenated message body exceeds the 1600 character limit";
        return Err(Problem::parameter(21617, message));
    }
    Ok(body.to_owned())
}

/// Both codes are documented; which is sent for which fault is unverified.
fn validity(value: &str) -> Result<u32, Problem> {
    let Ok(seconds) = value.parse::<i64>() else {
        return Err(Problem::parameter(90007, format!("ValidityPeriod {value} is not a number")));
    };
    let seconds = u32::try_from(seconds).ok().filter(|seconds| (1..=36_000).contains(seconds));
    seconds.ok_or_else(|| {
        Problem::parameter(21624, format!("ValidityPeriod {value} is not between 1 and 36000"))
    })
}

/// A number, a short code, or up to eleven letters and digits with at least one letter.
fn is_sender(from: &str) -> bool {
    let short_code = (3..=8).contains(&from.len()) && from.bytes().all(|b| b.is_ascii_digit());
    let name = (1..=11).contains(&from.len())
        && from.bytes().all(|b| b.is_ascii_alphanumeric() || b" +-_&".contains(&b))
        && from.bytes().any(|b| b.is_ascii_alphabetic());
    is_e164(from) || short_code || name
}

fn is_service_sid(sid: &str) -> bool {
    sid.len() == 34 && sid.strip_prefix("MG").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Item for Message {
    fn course(&self, outcome: &Outcome) -> Vec<News> {
        let (sent, delivered) = (News::of("sent"), News::of("delivered"));
        let undelivered = |code: Option<u32>| News::error("undelivered", code.unwrap_or(30003));
        let mut course = match outcome {
            Outcome::Undelivered { error_code } => vec![sent, undelivered(*error_code)],
            Outcome::Failed { error_code } => vec![News::error("failed", error_code.unwrap_or(30007))],
            Outcome::LateDelivery => vec![sent, undelivered(None), delivered],
            // Nobody ever hears of it again: the carrier got no receipt from the network either.
            quiet if quiet.keeps_quiet() => vec![sent],
            _ => vec![sent, delivered],
        };
        if self.service.is_some() {
            course.insert(0, News::of("queued"));
        }
        course
    }

    fn wants(&self, _: &News) -> bool {
        true
    }

    fn callback(&self, news: &News, config: &Config) -> Option<Callback> {
        let account = Address::of_account(config);
        let address = self.address.as_ref().or(account.as_ref())?;
        let mut form: Vec<(String, String)> = [
            ("SmsSid", self.sid.as_str()),
            ("SmsStatus", &news.status),
            ("MessageStatus", &news.status),
            ("To", &self.to),
            ("MessageSid", &self.sid),
            ("AccountSid", &self.account),
            ("From", &self.from),
            ("ApiVersion", API_VERSION),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if let Some(service) = &self.service {
            form.push(("MessagingServiceSid".into(), service.clone()));
        }
        if let Some(code) = news.error_code {
            form.push(("ErrorCode".into(), code.to_string()));
        }
        if news.status == "delivered" {
            let done = clock::now().to_zoned(TimeZone::UTC).strftime("%y%m%d%H%M").to_string();
            form.push(("RawDlrDoneDate".into(), done));
        }
        Some(address.callback(form, config))
    }

    fn resource(&self, progress: &Progress) -> serde_json::Value {
        let uri = format!("/{API_VERSION}/Accounts/{}/Messages/{}", self.account, self.sid);
        json!({
            "account_sid": self.account,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(progress.created),
            "date_sent": progress.started.map(rfc2822),
            "date_updated": rfc2822(progress.updated),
            "direction": "outbound-api",
            "error_code": progress.news.error_code,
            "error_message": progress.news.error_code.map(error_message),
            "from": self.from,
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": segments(&self.body).to_string(),
            "price": null,
            "price_unit": null,
            "sid": self.sid,
            "status": progress.news.status,
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": self.to,
            "uri": format!("{uri}.json"),
        })
    }
}

/// Not for programs, says the specification; so these are our own words.
fn error_message(code: u32) -> String {
    match code {
        30003 => "Unreachable destination handset".to_owned(),
        30007 => "Message filtered".to_owned(),
        _ => format!("Error {code}"),
    }
}
