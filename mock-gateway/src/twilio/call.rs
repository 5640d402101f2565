//! Calls: `POST …/Calls.json`, reading one back, and what its status callbacks say.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::problem::{Problem, invalid_number, invalid_sender};
use super::request::Form;
use super::status_callback::Address;
use super::{API_VERSION, Resource, is_e164, new_sid, rfc2822, twiml};
use crate::clock;
use crate::config::Config;
use crate::courier::Callback;
use crate::item::{Item, News};
use crate::outcome::{Channel, Outcome};
use crate::record::{Asked, Progress, clip};

const TWIML_AT_MOST: usize = 4_000;

/// How long everybody listens, in seconds. Nobody waits for it: states follow one another at the gateway's
/// pace.
const LISTENED_S: u32 = 12;

const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// A call that was accepted.
pub(super) struct Call {
    sid: String,
    account: String,
    to: String,
    from: String,
    events: Vec<String>,
    /// What the caller wants to know of who picks up; none if nothing.
    detection: Option<Detection>,
    address: Option<Address>,
    /// Counts the callbacks of this call.
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
    fn parse(form: &Form, asked: &mut Asked) -> Result<Self, Problem> {
        asked.to = form.get("To").map(clip);
        asked.from = form.get("From").map(clip);
        asked.status_callback = form.get("StatusCallback").map(clip);

        let to = form.get("To").ok_or_else(|| Problem::parameter(21201, "No 'To' number is specified."))?;
        if !is_e164(to) {
            return Err(invalid_number(21211, to));
        }
        let from =
            form.get("From").ok_or_else(|| Problem::parameter(21213, "No 'From' number is specified."))?;
        if !is_e164(from) {
            return Err(invalid_sender(from));
        }
        speech(form, asked)?;
        Ok(Self {
            sid: new_sid("CA"),
            account: asked.account.clone(),
            to: to.to_owned(),
            from: from.to_owned(),
            events: events(form)?,
            detection: detection(form)?,
            address: Address::parse(form)?,
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

/// Note what will be spoken.
fn speech(form: &Form, asked: &mut Asked) -> Result<(), Problem> {
    // A URL takes precedence; nothing is fetched here, so what it says stays unknown.
    if let Some(url) = form.get("Url").or_else(|| form.get("ApplicationSid")) {
        asked.transcript = Some(clip(&format!("(says what is at {url})")));
        return Ok(());
    }
    let text = form.get("Twiml").ok_or_else(|| Problem::parameter(21205, "Url parameter is required."))?;
    if text.chars().count() > TWIML_AT_MOST {
        return Err(Problem::parameter(
            32018,
            "Twiml size exceeded maximum allowed value of 4000 characters",
        ));
    }
    let speech = twiml::read(text).map_err(|error| Problem::parameter(error.code, error.to_string()))?;
    asked.transcript = Some(clip(&speech.transcript));
    asked.language = speech.language.as_deref().map(clip);
    Ok(())
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

/// The event that a state is; `completed` covers every end.
fn event(status: &str) -> &'static str {
    match status {
        "queued" => "initiated",
        "ringing" => "ringing",
        "in-progress" => "answered",
        _ => "completed",
    }
}

/// Seconds and SIP response code of a call that ended like this; none if it has not.
fn end(news: &News) -> Option<(u32, u16)> {
    let (seconds, usual) = match &*news.status {
        "completed" => (LISTENED_S, 200),
        "busy" => (0, 486),
        "no-answer" | "canceled" => (0, 487),
        "failed" => (0, 404),
        _ => return None,
    };
    Some((seconds, news.sip_response_code.unwrap_or(usual)))
}

impl Call {
    fn answered_by(&self, news: &News) -> Option<&'static str> {
        if news.status != "completed" {
            return None;
        }
        Some(match (self.detection?, news.machine) {
            (_, false) => "human",
            (Detection::Enable, true) => "machine_start",
            (Detection::MessageEnd, true) => "machine_end_beep",
        })
    }
}

impl Item for Call {
    fn course(&self, outcome: &Outcome) -> Vec<News> {
        let mut course = vec![News::of("queued"), News::of("ringing")];
        match outcome {
            Outcome::Busy => course.push(News::of("busy")),
            Outcome::NoAnswer => course.push(News::of("no-answer")),
            Outcome::CallFailed { sip_response_code } => {
                course.truncate(1);
                course.push(News { sip_response_code: Some(*sip_response_code), ..News::of("failed") });
            }
            _ => {
                let machine = *outcome == Outcome::Machine;
                course.extend([News::of("in-progress"), News { machine, ..News::of("completed") }]);
            }
        }
        course
    }

    fn wants(&self, news: &News) -> bool {
        self.events.iter().any(|wanted| wanted == event(&news.status))
    }

    fn callback(&self, news: &News, config: &Config) -> Option<Callback> {
        let address = self.address.as_ref()?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed).to_string();
        let timestamp = rfc2822(clock::now());
        // The word for a call that has left the queue and does not ring yet is unverified.
        let status = if news.status == "queued" { "initiated" } else { &*news.status };
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
            ("Timestamp", timestamp),
            ("CallbackSource", "call-progress-events".into()),
            ("SequenceNumber", sequence),
        ];
        // Where a number is unknown they come empty, and are signed like that.
        for name in
            ["FromCity", "FromState", "FromZip", "FromCountry", "ToCity", "ToState", "ToZip", "ToCountry"]
        {
            form.push((name, String::new()));
        }
        if let Some((seconds, sip)) = end(news) {
            form.push(("CallDuration", seconds.to_string()));
            form.push(("Duration", seconds.div_ceil(60).to_string()));
            form.push(("SipResponseCode", sip.to_string()));
        }
        if let Some(who) = self.answered_by(news) {
            form.push(("AnsweredBy", who.into()));
        }
        Some(
            address
                .callback(form.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), config),
        )
    }

    fn resource(&self, progress: &Progress) -> serde_json::Value {
        let uri = format!("/{API_VERSION}/Accounts/{}/Calls/{}", self.account, self.sid);
        let end = end(&progress.news);
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
            "status": progress.news.status,
            "direction": "outbound-api",
            "to": self.to,
            "to_formatted": formatted(&self.to),
            "from": self.from,
            "from_formatted": formatted(&self.from),
            "answered_by": self.answered_by(&progress.news),
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
