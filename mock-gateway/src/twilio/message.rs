//! Messages: `POST …/Messages.json`, reading one, and its status callbacks.

use jiff::tz::TimeZone;
use serde_json::json;

use super::problem::{Problem, invalid_number, invalid_sender};
use super::request::Form;
use super::status_callback::Address;
use super::{API_VERSION, Resource, is_e164, new_sid, rfc2822};
use crate::callbacks::Callback;
use crate::carrier_message::{CarrierMessage, StateChange};
use crate::clock;
use crate::config::Config;
use crate::outcome::{Channel, Outcome};
use crate::record::{Progress, RequestRecord, clip};
use crate::segments::segments;

/// The sender of a Messaging Service: the single number of Twilio's test credentials.
const POOL_NUMBER: &str = "+15005550006";

const MAX_BODY_CHARACTERS: usize = 1_600;

/// An accepted message.
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

    fn parse(form: &Form, request: &mut RequestRecord) -> Result<Self, Problem> {
        let service = form.get("MessagingServiceSid");
        let pool = service.map(|_| POOL_NUMBER);
        request.to = form.get("To").map(clip);
        request.from = form.get("From").or(pool).map(clip);
        request.body = form.get("Body").map(clip);
        request.status_callback = form.get("StatusCallback").map(clip);

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
        request.validity_s = form.get("ValidityPeriod").map(validity).transpose()?;
        Ok(Self {
            sid: new_sid("SM"),
            account: request.account.clone(),
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

/// Returns the text. A message with only a picture or template has its address instead.
fn body(form: &Form) -> Result<String, Problem> {
    let body = ["Body", "MediaUrl", "ContentSid"].into_iter().find_map(|name| form.get(name));
    let body = body
        .ok_or_else(|| Problem::parameter(21619, "A text message body or media urls must be specified."))?;
    if body.chars().count() > MAX_BODY_CHARACTERS {
        // The number is unverified.
        let message = "The concatenated message body exceeds the 1600 character limit";
        return Err(Problem::parameter(21617, message));
    }
    Ok(body.to_owned())
}

/// Both codes are documented. It is unverified which error has which code.
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

impl CarrierMessage for Message {
    fn states(&self, outcome: &Outcome) -> Vec<StateChange> {
        let (sent, delivered) = (StateChange::of("sent"), StateChange::of("delivered"));
        let undelivered = |code: Option<u32>| StateChange::error("undelivered", code.unwrap_or(30003));
        let mut states = match outcome {
            Outcome::Undelivered { error_code } => vec![sent, undelivered(*error_code)],
            Outcome::Failed { error_code } => vec![StateChange::error("failed", error_code.unwrap_or(30007))],
            Outcome::LateDelivery => vec![sent, undelivered(None), delivered],
            // No further state: the network sent no receipt.
            quiet if quiet.has_no_callbacks() => vec![sent],
            _ => vec![sent, delivered],
        };
        if self.service.is_some() {
            states.insert(0, StateChange::of("queued"));
        }
        states
    }

    fn wants(&self, _: &StateChange) -> bool {
        true
    }

    fn callback(&self, change: &StateChange, config: &Config) -> Option<Callback> {
        let account = Address::of_account(config);
        let address = self.address.as_ref().or(account.as_ref())?;
        let mut form: Vec<(String, String)> = [
            ("SmsSid", self.sid.as_str()),
            ("SmsStatus", &change.status),
            ("MessageStatus", &change.status),
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
        if let Some(code) = change.error_code {
            form.push(("ErrorCode".into(), code.to_string()));
        }
        if change.status == "delivered" {
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
            "error_code": progress.change.error_code,
            "error_message": progress.change.error_code.map(error_message),
            "from": self.from,
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": segments(&self.body).to_string(),
            "price": null,
            "price_unit": null,
            "sid": self.sid,
            "status": progress.change.status,
            "subresource_uris": { "media": format!("{uri}/Media.json") },
            "to": self.to,
            "uri": format!("{uri}.json"),
        })
    }
}

/// These texts are our own, because the specification says that programs must not read them.
fn error_message(code: u32) -> String {
    match code {
        30003 => "Unreachable destination handset".to_owned(),
        30007 => "Message filtered".to_owned(),
        _ => format!("Error {code}"),
    }
}
