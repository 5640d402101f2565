//! Twilio: Programmable Messaging for texts, Programmable Voice for calls.
//!
//! Source: twilio-oai `twilio_api_v2010`, the request validators of the official libraries, and the docs pages "Outbound Message
//! Status in Status Callbacks", "Call resource", "Webhooks: Connection Overrides".

mod codes;
mod receipt;
mod signature;
mod twiml;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use codes::outcome_of_code;
use receipt::{CallReport, message_receipt};

use super::client::{Auth, Method};
use super::{
    AccountConfig, Answer, Callback, Carrier, InvalidCallback, OutboundMessage, Report, Request,
    SPEECH_QUERY, Secret, SpeechAnswer, checked_base_url, kept,
};
use crate::domain::attempt::{Details, Judgement, Outcome, Receipt};
use crate::domain::channel::Channel;
use crate::domain::dispatch::{RenderedMessage, Spoken};

/// Configuration of an account.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The account's id: `AC` and 32 hexadecimal digits.
    pub account_sid: String,
    /// The account's secret. It is also the key of callback signatures.
    pub auth_token: Option<SecretString>,
    /// File that contains the secret.
    pub auth_token_file: Option<PathBuf>,
    /// Another secret that callbacks may be signed with, during a rotation: the new one before its promotion, or the old one after it.
    pub other_auth_token: Option<SecretString>,
    /// File that contains the other secret.
    pub other_auth_token_file: Option<PathBuf>,
    /// The id of an API key (`SK…`) that logs in instead of the account. Callbacks are still signed with `auth_token`.
    pub api_key_sid: Option<String>,
    /// The secret of the API key.
    pub api_key_secret: Option<SecretString>,
    /// File that contains the secret of the API key.
    pub api_key_secret_file: Option<PathBuf>,
    /// The sender of texts: a number in E.164, a short code or a name. Either `from` or `messaging_service_sid` is required.
    pub from: Option<String>,
    /// The id of a messaging service: `MG…`.
    pub messaging_service_sid: Option<String>,
    /// The number of the caller. Defaults to `from`.
    pub voice_from: Option<String>,
    /// Whether calls speak a code at once, also to a mailbox. By default the recipient must press a key first.
    #[serde(default)]
    pub code_at_once: bool,
    /// Whether calls detect answering machines. A call answered by a machine then has a bad receipt.
    #[serde(default)]
    pub machine_detection: bool,
    /// The base URL of the API.
    #[serde(default = "api")]
    pub base_url: String,
}

fn api() -> String {
    "https://api.twilio.com".to_owned()
}

/// Valid range of `ValidityPeriod` in seconds. Twilio recommends more than 5 s; it may drop a message with less at once.
const VALIDITY_RANGE_S: std::ops::RangeInclusive<u64> = 1..=36_000;

/// The states of a call that are reported.
const CALL_EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];
/// Maximum seconds that a phone rings (Twilio's default).
const RING_S: u64 = 60;
/// In the query of a status callback: the call speaks only after a key was pressed.
const AFTER_KEY: &str = "after_key";

/// A Twilio account.
pub struct Twilio {
    config: Config,
    /// Without a trailing slash.
    base_url: String,
    token: SecretString,
}

impl AccountConfig for Config {
    fn base_url(&self) -> &str {
        &self.base_url
    }

    fn secrets(&mut self) -> Vec<Secret<'_>> {
        vec![
            Secret { key: "auth_token", value: &mut self.auth_token, file: &mut self.auth_token_file },
            Secret {
                key: "other_auth_token",
                value: &mut self.other_auth_token,
                file: &mut self.other_auth_token_file,
            },
            Secret {
                key: "api_key_secret",
                value: &mut self.api_key_secret,
                file: &mut self.api_key_secret_file,
            },
        ]
    }

    fn open(&self) -> Result<Box<dyn Carrier>, String> {
        Ok(Box::new(Twilio::new(self.clone())?))
    }

    fn min_life(&self) -> Duration {
        MIN_VALIDITY
    }
}

impl Twilio {
    /// Creates an account. Returns the error text if the configuration is not valid.
    pub fn new(config: Config) -> Result<Self, String> {
        if config.from.is_none() && config.messaging_service_sid.is_none() {
            return Err("set `from` or `messaging_service_sid`".to_owned());
        }
        let senders = [
            ("from", &config.from),
            ("voice_from", &config.voice_from),
            ("messaging_service_sid", &config.messaging_service_sid),
        ];
        for (key, sender) in senders {
            if sender.as_ref().is_some_and(|sender| sender.trim().is_empty()) {
                return Err(format!("{key} is empty"));
            }
        }
        let base_url = checked_base_url(&config.base_url)?;
        let digits = config.account_sid.strip_prefix("AC");
        if !digits.is_some_and(|d| d.len() == 32 && d.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err("account_sid is AC and 32 hexadecimal digits".to_owned());
        }
        let token = config.auth_token.clone().ok_or("needs auth_token or auth_token_file")?;
        match (&config.api_key_sid, &config.api_key_secret) {
            (None, None) => {}
            (Some(sid), Some(_)) if sid.starts_with("SK") => {}
            (Some(_), Some(_)) => return Err("api_key_sid is SK and 32 hexadecimal digits".to_owned()),
            _ => {
                return Err("an API key needs both api_key_sid and api_key_secret (or api_key_secret_file)"
                    .to_owned());
            }
        }
        Ok(Self { config, base_url, token })
    }

    fn resource(&self, channel: Channel, name: &str) -> String {
        let list = match channel {
            Channel::Sms => "Messages",
            Channel::Voice => "Calls",
        };
        let base = &self.base_url;
        format!("{base}/2010-04-01/Accounts/{}/{list}{name}.json", self.config.account_sid)
    }

    fn request(&self, method: Method, url: String, form: Zeroizing<String>) -> Request {
        let (user, secret) = match (&self.config.api_key_sid, &self.config.api_key_secret) {
            (Some(sid), Some(secret)) => (sid, secret),
            _ => (&self.config.account_sid, &self.token),
        };
        Request {
            method,
            url,
            auth: Auth::Basic(user.clone(), Zeroizing::new(secret.expose_secret().to_owned())),
            content_type: "application/x-www-form-urlencoded",
            body: form,
        }
    }
}

impl Carrier for Twilio {
    fn carries(&self, channel: Channel) -> bool {
        match channel {
            Channel::Sms => true,
            Channel::Voice => self.config.voice_from.is_some() || self.config.from.is_some(),
        }
    }

    fn keeps_references(&self, _: Channel) -> bool {
        false
    }

    fn build(&self, message: &OutboundMessage<'_>) -> Option<Request> {
        let mut form = Form::default();
        form.add("To", message.to.expose());
        match (message.channel, message.content) {
            (Channel::Sms, RenderedMessage::Text(text)) => {
                match (message.sender, &self.config.messaging_service_sid, &self.config.from) {
                    (Some(own), ..) if own.starts_with("MG") => form.add("MessagingServiceSid", own),
                    (Some(own), ..) => form.add("From", own),
                    (None, Some(service), _) => form.add("MessagingServiceSid", service),
                    (None, None, Some(from)) => form.add("From", from),
                    (None, None, None) => {}
                }
                form.add("Body", text);
                let validity =
                    message.life.as_secs().clamp(*VALIDITY_RANGE_S.start(), *VALIDITY_RANGE_S.end());
                form.add("ValidityPeriod", &validity.to_string());
            }
            (Channel::Voice, RenderedMessage::Speech(spoken)) => {
                let own = self.config.voice_from.as_deref().or(self.config.from.as_deref());
                form.add("From", message.sender.or(own)?);
                let at_once = || twiml::speech(spoken);
                let after_key =
                    |(prompt, url): (&String, &str)| twiml::key_request(prompt, &spoken.language, url);
                let asking = spoken.key_prompt.as_ref().zip(message.speech_url);
                form.add("Twiml", &asking.map_or_else(at_once, after_key));
                for event in message.callback.iter().flat_map(|_| CALL_EVENTS) {
                    form.add("StatusCallbackEvent", event);
                }
                // A call that rings after the expiry of the code would speak a code that is no longer valid.
                form.add("Timeout", &message.life.as_secs().clamp(5, RING_S).to_string());
                if self.config.machine_detection {
                    form.add("MachineDetection", "Enable");
                }
            }
            _ => return None,
        }
        if let Some(callback) = message.callback {
            // Twilio retries a callback once, and never after a 5xx, unless the URL's fragment requests more retries.
            let query = message.speech_url.map(|_| format!("?{AFTER_KEY}")).unwrap_or_default();
            form.add("StatusCallback", &format!("{callback}{query}#rc=5&rp=all"));
        }
        Some(self.request(Method::Post, self.resource(message.channel, ""), form.0))
    }

    fn judge(&self, _: Channel, answer: &Answer) -> Judgement {
        let body = answer.json();
        let field = |name: &str| body.as_ref().and_then(|b| b.get(name));
        let text = |name: &str| field(name).and_then(|v| v.as_str()).and_then(kept);
        let code = field("code").and_then(serde_json::Value::as_i64);
        let outcome = match (answer.status, code.and_then(outcome_of_code)) {
            (200..=299, _) => match text("sid") {
                Some(message_id) => {
                    let price =
                        text("price").map(|p| format!("{p} {}", text("price_unit").unwrap_or_default()));
                    let segments = text("num_segments").and_then(|n| n.parse().ok());
                    let details =
                        Details { message_id: Some(message_id), carrier_code: None, segments, price };
                    return Judgement { outcome: Outcome::Accepted, details };
                }
                // Twilio accepted the request, but the answer has no message id.
                None => Outcome::Unknown,
            },
            (400..=499, Some(Outcome::Throttled { .. })) => {
                Outcome::Throttled { retry_after: answer.retry_after() }
            }
            // Some refusals that last for hours have status 429.
            (400..=499, Some(outcome @ Outcome::Misconfigured(_))) => outcome,
            (429, Some(outcome)) if code == Some(codes::TOO_MANY_TO_NUMBER) => outcome,
            (429, _) => answer.outcome_by_status(),
            (400..=499, Some(outcome)) => outcome,
            // Twilio's edge answers 503 before a message is created. Other 5xx answers say nothing about acceptance.
            (503, _) => Outcome::Unavailable,
            _ => answer.outcome_by_status(),
        };
        Judgement {
            outcome,
            details: Details { carrier_code: code.map(|c| c.to_string()), ..Details::default() },
        }
    }

    fn asks_for_key(&self) -> bool {
        !self.config.code_at_once
    }

    fn speech(&self, spoken: Option<&Spoken>) -> Option<SpeechAnswer> {
        let body = spoken.map_or_else(twiml::hang_up, twiml::speech);
        Some(SpeechAnswer { content_type: "text/xml; charset=utf-8", body })
    }

    fn knows_code(&self, code: &str) -> bool {
        codes::is_known(code)
    }

    fn advice(&self, judgement: &Judgement) -> &'static str {
        codes::advice(judgement, self.config.api_key_sid.is_some())
    }

    /// A `GET` has its fields in the query, which is part of the signed URL.
    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Vec<Report>, InvalidCallback> {
        let pairs =
            |text: &[u8]| -> Vec<(String, String)> { form_urlencoded::parse(text).into_owned().collect() };
        let form = pairs(callback.body);
        let given = callback.headers.get("x-twilio-signature").ok_or(InvalidCallback::Signature)?.as_bytes();
        let tokens = std::iter::once(&self.token).chain(&self.config.other_auth_token);
        if !signature::is_signed(given, tokens, callback.url, &form) {
            return Err(InvalidCallback::Signature);
        }
        let fields = if callback.body.is_empty() { pairs(callback.query.as_bytes()) } else { form };
        let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let code = field("ErrorCode").and_then(|c| c.parse::<i64>().ok());
        let receipt = if let Some(status) = field("MessageStatus") {
            message_receipt(status, code, field("MessageSid"))
        } else {
            let status = field("CallStatus").ok_or(InvalidCallback::Form)?;
            let is_in_query = |name: &str| pairs(callback.query.as_bytes()).iter().any(|(n, _)| n == name);
            let key = field("Digits").is_some_and(|digits| !digits.is_empty());
            // The request for the speech reports a key or nothing. Its recipient may have hung up.
            if is_in_query(SPEECH_QUERY) && !(key && status == "in-progress") {
                return Ok(vec![]);
            }
            let call = CallReport {
                status,
                key,
                is_after_key: is_in_query(AFTER_KEY),
                answered_by: field("AnsweredBy"),
                sip: field("SipResponseCode"),
                sid: field("CallSid"),
            };
            call.receipt()
        };
        Ok(receipt.map(|receipt| Report { attempt: None, receipt }).into_iter().collect())
    }

    fn status_request(&self, channel: Channel, reference: &str) -> Option<Request> {
        let url = self.resource(channel, &format!("/{reference}"));
        Some(self.request(Method::Get, url, Zeroizing::default()))
    }

    fn parse_status(&self, channel: Channel, answer: &Answer) -> Option<Receipt> {
        let body = (answer.status == 200).then(|| answer.json())??;
        let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str);
        let status = text("status")?;
        match channel {
            Channel::Sms => message_receipt(
                status,
                body.get("error_code").and_then(serde_json::Value::as_i64),
                text("sid"),
            ),
            Channel::Voice => {
                let (answered_by, sid, is_after_key) =
                    (text("answered_by"), text("sid"), !self.config.code_at_once);
                let call = CallReport { status, key: false, is_after_key, answered_by, sip: None, sid };
                call.receipt()
            }
        }
    }
}

/// A form body that is wiped on drop.
#[derive(Default)]
struct Form(Zeroizing<String>);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }
}

/// Minimum remaining life of a code for a request to Twilio.
pub const MIN_VALIDITY: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests;
