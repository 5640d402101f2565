//! Calls: `POST …/Calls.json`, reading one, and its status callbacks.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::problem::{Problem, invalid_number, invalid_sender};
use super::request::Form;
use super::status_callback::Address;
use super::{API_VERSION, Resource, is_e164, new_sid, rfc2822, twiml};
use crate::callbacks::Callback;
use crate::carrier_message::{CarrierMessage, Spoken, StateChange};
use crate::clock;
use crate::config::Config;
use crate::outcome::{Channel, Outcome};
use crate::record::{Progress, RequestRecord, clip};

const MAX_TWIML_CHARACTERS: usize = 4_000;

/// Reported duration of an answered call in seconds. The call itself completes after the configured delay.
const ANSWERED_DURATION_S: u32 = 12;

const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// An accepted call.
pub(super) struct Call {
    sid: String,
    account: String,
    to: String,
    from: String,
    events: Vec<String>,
    /// The mode of answering machine detection.
    detection: Option<Detection>,
    address: Option<Address>,
    /// The URL that is requested when a key is pressed.
    key_action: Option<Address>,
    /// Number of callbacks of this call.
    sequence: AtomicU32,
}

#[derive(Clone, Copy)]
enum Detection {
    Enable,
    MessageEnd,
}

impl Resource for Call {
    const CHANNEL: Channel = Channel::Voice;

    /// The codes for missing parameters (21201, 21213, 21205), for events (21626) and for detection (20001)
    /// are **unverified**.
    fn parse(form: &Form, request: &mut RequestRecord) -> Result<Self, Problem> {
        request.to = form.get("To").map(clip);
        request.from = form.get("From").map(clip);
        request.status_callback = form.get("StatusCallback").map(clip);

        let to = form.get("To").ok_or_else(|| Problem::parameter(21201, "No 'To' number is specified."))?;
        if !is_e164(to) {
            return Err(invalid_number(21211, to));
        }
        let from =
            form.get("From").ok_or_else(|| Problem::parameter(21213, "No 'From' number is specified."))?;
        if !is_e164(from) {
            return Err(invalid_sender(from));
        }
        let key_action = speech(form, request)?;
        Ok(Self {
            sid: new_sid("CA"),
            account: request.account.clone(),
            to: to.to_owned(),
            from: from.to_owned(),
            events: events(form)?,
            detection: detection(form)?,
            address: Address::parse(form)?,
            key_action,
            sequence: AtomicU32::new(0),
        })
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn first_status(&self) -> &'static str {
        "queued"
    }
}

/// Records the transcript. Returns the URL that is requested when a key is pressed.
fn speech(form: &Form, request: &mut RequestRecord) -> Result<Option<Address>, Problem> {
    // A `Url` takes precedence. It is not fetched, so the transcript only names it.
    if let Some(url) = form.get("Url").or_else(|| form.get("ApplicationSid")) {
        request.transcript = Some(clip(&format!("(speech at {url})")));
        return Ok(None);
    }
    let text = form.get("Twiml").ok_or_else(|| Problem::parameter(21205, "Url parameter is required."))?;
    if text.chars().count() > MAX_TWIML_CHARACTERS {
        return Err(Problem::parameter(
            32018,
            "Twiml size exceeded maximum allowed value of 4000 characters",
        ));
    }
    let speech = twiml::read(text).map_err(|error| Problem::parameter(error.code, error.to_string()))?;
    request.transcript = Some(clip(&speech.transcript));
    request.language = speech.language.as_deref().map(clip);
    speech.key_action.as_deref().map(Address::of_action).transpose()
}

fn events(form: &Form) -> Result<Vec<String>, Problem> {
    let events: Vec<String> = form.all("StatusCallbackEvent").map(str::to_owned).collect();
    if let Some(wrong) = events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
        return Err(Problem::parameter(21626, format!("Invalid statusCallbackEvents: {wrong}")));
    }
    Ok(if events.is_empty() { vec!["completed".to_owned()] } else { events })
}

fn detection(form: &Form) -> Result<Option<Detection>, Problem> {
    match form.get("MachineDetection") {
        None => Ok(None),
        Some("Enable") => Ok(Some(Detection::Enable)),
        Some("DetectMessageEnd") => Ok(Some(Detection::MessageEnd)),
        Some(other) => Err(Problem::parameter(20001, format!("Invalid MachineDetection {other}"))),
    }
}

/// Returns the callback event of a state. Every final state is `completed`.
fn event(status: &str) -> &'static str {
    match status {
        "queued" => "initiated",
        "ringing" => "ringing",
        "in-progress" => "answered",
        _ => "completed",
    }
}

/// Returns the seconds and the SIP response code of an ended call, or `None` before its end.
fn end(change: &StateChange) -> Option<(u32, u16)> {
    let (seconds, usual) = match &*change.status {
        "completed" => (ANSWERED_DURATION_S, 200),
        "busy" => (0, 486),
        "no-answer" | "canceled" => (0, 487),
        "failed" => (0, 404),
        _ => return None,
    };
    Some((seconds, change.sip_response_code.unwrap_or(usual)))
}

fn owned(form: Vec<(&str, String)>) -> Vec<(String, String)> {
    form.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Call {
    /// The fields of all requests about the call.
    fn form(&self, status: &str) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("CallSid", self.sid.clone()),
            ("AccountSid", self.account.clone()),
            ("From", self.from.clone()),
            ("To", self.to.clone()),
            ("Caller", self.from.clone()),
            ("Called", self.to.clone()),
            ("Direction", "outbound-api".into()),
            ("ApiVersion", API_VERSION.into()),
            ("CallStatus", status.into()),
        ];
        // Without a value they are empty, and signed as empty.
        for name in
            ["FromCity", "FromState", "FromZip", "FromCountry", "ToCity", "ToState", "ToZip", "ToCountry"]
        {
            form.push((name, String::new()));
        }
        form
    }

    fn answered_by(&self, change: &StateChange) -> Option<&'static str> {
        if change.status != "completed" {
            return None;
        }
        Some(match (self.detection?, change.machine) {
            (_, false) => "human",
            (Detection::Enable, true) => "machine_start",
            (Detection::MessageEnd, true) => "machine_end_beep",
        })
    }
}

impl CarrierMessage for Call {
    fn states(&self, outcome: &Outcome) -> Vec<StateChange> {
        let mut states = vec![StateChange::of("queued"), StateChange::of("ringing")];
        match outcome {
            Outcome::Busy => states.push(StateChange::of("busy")),
            Outcome::NoAnswer => states.push(StateChange::of("no-answer")),
            Outcome::CallFailed { sip_response_code } => {
                states.truncate(1);
                states.push(StateChange {
                    sip_response_code: Some(*sip_response_code),
                    ..StateChange::of("failed")
                });
            }
            _ => {
                let machine = *outcome == Outcome::Machine;
                states.extend([
                    StateChange::of("in-progress"),
                    StateChange { machine, ..StateChange::of("completed") },
                ]);
            }
        }
        states
    }

    fn wants(&self, change: &StateChange) -> bool {
        self.events.iter().any(|wanted| wanted == event(&change.status))
    }

    fn callback(&self, change: &StateChange, config: &Config) -> Option<Callback> {
        let address = self.address.as_ref()?;
        // The word for a call between queued and ringing is unverified.
        let status = if change.status == "queued" { "initiated" } else { &*change.status };
        let mut form = self.form(status);
        form.extend([
            ("Timestamp", rfc2822(clock::now())),
            ("CallbackSource", "call-progress-events".into()),
            ("SequenceNumber", self.sequence.fetch_add(1, Ordering::Relaxed).to_string()),
        ]);
        if let Some((seconds, sip)) = end(change) {
            form.push(("CallDuration", seconds.to_string()));
            form.push(("Duration", seconds.div_ceil(60).to_string()));
            form.push(("SipResponseCode", sip.to_string()));
        }
        if let Some(who) = self.answered_by(change) {
            form.push(("AnsweredBy", who.into()));
        }
        Some(address.callback(owned(form), config))
    }

    fn key_request(&self, config: &Config) -> Option<Callback> {
        let mut form = self.form("in-progress");
        form.extend([
            ("Digits", "1".to_owned()),
            ("FinishedOnKey", String::new()),
            ("msg", "Gather End".into()),
        ]);
        Some(self.key_action.as_ref()?.callback(owned(form), config))
    }

    fn speech(&self, answer: &str) -> Spoken {
        match twiml::read(answer) {
            Ok(speech) => Spoken { transcript: speech.transcript, language: speech.language },
            Err(error) => Spoken { transcript: format!("(no speech: {error})"), language: None },
        }
    }

    fn resource(&self, progress: &Progress) -> serde_json::Value {
        let uri = format!("/{API_VERSION}/Accounts/{}/Calls/{}", self.account, self.sid);
        let end = end(&progress.change);
        let mut subresources = serde_json::Map::new();
        for (name, file) in [
            ("notifications", "Notifications"),
            ("recordings", "Recordings"),
            ("payments", "Payments"),
            ("events", "Events"),
            ("siprec", "Siprec"),
            ("streams", "Streams"),
            ("transcriptions", "Transcriptions"),
            ("user_defined_message_subscriptions", "UserDefinedMessageSubscriptions"),
            ("user_defined_messages", "UserDefinedMessages"),
        ] {
            subresources.insert(name.to_owned(), format!("{uri}/{file}.json").into());
        }
        json!({
            "sid": self.sid,
            "account_sid": self.account,
            "api_version": API_VERSION,
            "status": progress.change.status,
            "direction": "outbound-api",
            "to": self.to,
            "to_formatted": formatted(&self.to),
            "from": self.from,
            "from_formatted": formatted(&self.from),
            "answered_by": self.answered_by(&progress.change),
            "caller_name": null,
            "date_created": rfc2822(progress.created),
            "date_updated": rfc2822(progress.updated),
            "start_time": progress.started.map(rfc2822),
            "end_time": end.map(|_| rfc2822(progress.updated)),
            "duration": end.map(|(seconds, _)| seconds.to_string()),
            "price": null,
            "price_unit": "USD",
            "parent_call_sid": null,
            "phone_number_sid": "PN00000000000000000000000000000001",
            "forwarded_from": null,
            "group_sid": null,
            "trunk_sid": null,
            "queue_time": "0",
            "subresource_uris": subresources,
            "uri": format!("{uri}.json"),
        })
    }
}

/// `(415) 867-5309` for numbers of North America, the number itself otherwise.
fn formatted(number: &str) -> String {
    match number.strip_prefix("+1") {
        Some(rest) if rest.len() == 10 => format!("({}) {}-{}", &rest[..3], &rest[3..6], &rest[6..]),
        _ => number.to_owned(),
    }
}
