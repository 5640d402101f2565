//! The parts of a delivery that need no ledger, broker or carrier. `parts PART TIMES` runs one of them repeatedly, and
//! `scripts/instructions` counts its instructions.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use otpost::carriers::{AccountConfig, Answer, Callback, Carrier, OutboundMessage, Request, twilio};
use otpost::config::Config;
use otpost::config::live::Live;
use otpost::domain::attempt::AttemptId;
use otpost::domain::channel::Channel;
use otpost::domain::decide::{Candidate, Policy, UnknownPolicy, decide};
use otpost::domain::dispatch::{Dispatch, Event};
use otpost::domain::restrictions::Restrictions;
use otpost::intake::Job;
use otpost::intake::admission::{Admitter, Ingress};
use otpost::ledger::decide::{AdmissionDecision, Quotas, SameSignIn, admit, record, write_decision};
use otpost::ledger::{
    Admission, AttemptOutcome, AttemptReceipt, DecisionWrite, NewAttempt, PendingEvents, RecordResult,
};
use otpost::messages::Templates;
use otpost::outbox::cloud_event::CloudEvent;
use otpost::seal::Keys;
use reqwest::header::HeaderMap;
use serde_json::json;
use sha1::Sha1;

const TOKEN: &str = "token";
const CARRIER: &str = "main";
const TIME_OUT: Duration = Duration::from_secs(10);
const URL: &str = "https://sms.example.com";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [part, times] = &arguments[..] else {
        bail!("usage: parts read|admit|request|finish|event|receipt TIMES")
    };
    let delivery = Delivery::new()?;
    for _ in 0..times.parse::<u32>()? {
        match part.as_str() {
            "read" => drop(black_box(delivery.read()?)),
            "admit" => drop(black_box(delivery.admit())),
            "request" => drop(black_box(delivery.request()?)),
            "finish" => drop(black_box(delivery.finish()?)),
            "event" => delivery.event(),
            "receipt" => drop(black_box(delivery.receipt()?)),
            other => bail!("there is no part {other}"),
        }
    }
    Ok(())
}

/// A delivery, as far as the parts need it.
struct Delivery {
    now: Timestamp,
    keys: Keys,
    admitter: Admitter,
    carrier: Box<dyn Carrier>,
    policy: Policy,
    body: Vec<u8>,
    job: Job,
    admission: Admission,
    /// With the first attempt, which is open.
    sending: Dispatch,
    answer: Answer,
    /// The carrier has accepted the attempt.
    sent: Dispatch,
    /// The events of that change.
    events: Vec<Event>,
    receipt: Receipt,
}

/// A signed receipt of the carrier.
struct Receipt {
    url: String,
    headers: HeaderMap,
    body: String,
}

impl Delivery {
    fn new() -> anyhow::Result<Self> {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse()?;
        let config = Config::parse(&format!(
            "ledger.url = \"sqlite:otpost.db\"\namqp.url = \"amqp://127.0.0.1\"\nkeys.root = \"{}\"\n",
            "0123456789abcdef".repeat(4)
        ))?;
        let keys = config.keys()?;
        let templates = Templates::load(None).map_err(anyhow::Error::msg)?;
        let admitter = Admitter::new(keys.clone(), config, templates, Live::new(Restrictions::default()));
        let account: twilio::Config = serde_json::from_value(json!({
            "account_sid": format!("AC{}", "0".repeat(32)), "auth_token": TOKEN, "from": "+15005550006",
        }))?;
        let candidate = Candidate {
            carrier: CARRIER.to_owned(),
            unknown: UnknownPolicy::Wait,
            min_life: account.min_life(),
        };
        let policy = Policy {
            candidates: BTreeMap::from([(Channel::Sms, vec![candidate])]),
            receipt_wait: Duration::from_hours(1),
        };
        let body = json!({
            "id": "0192f0c1-2222-4333-8444-555566667777", "to": "+447400000001", "code": "123456",
            "expires_at": "2026-01-01T12:05:00Z", "tags": {"flow": "login"},
        });
        let body = body.to_string().into_bytes();
        let job = admitter.decode(&body, None, now).map_err(|bad| anyhow::anyhow!("the job: {bad:?}"))?;
        let mut admission = admitter.admission(&job, Ingress::Amqp, None, now);
        admission.attempt = Some(NewAttempt::new(Channel::Sms, CARRIER, TIME_OUT, None));
        let sending = admission.inserted(now, vec![]).context("an attempt")?;
        let accepted =
            json!({"sid": format!("SM{}", "1".repeat(32)), "status": "queued", "num_segments": "1"});
        let answer = Answer {
            status: 201,
            headers: HeaderMap::new(),
            body: Some(accepted.to_string().into_bytes()),
            at: now,
        };
        let carrier = account.open().map_err(anyhow::Error::msg)?;
        let (sent, receipt) = (sending.clone(), Receipt::of(&callback(&keys, &sending))?);
        let mut delivery = Self {
            now,
            keys,
            admitter,
            carrier,
            policy,
            body,
            job,
            admission,
            sending,
            answer,
            sent,
            events: vec![],
            receipt,
        };
        (delivery.sent, delivery.events) = delivery.finish()?;
        ensure!(delivery.events.len() == 1, "a sent text has one event");
        Ok(delivery)
    }

    /// Parses a job, checks it, and seals and hashes its values.
    fn read(&self) -> anyhow::Result<Admission> {
        let job = self.admitter.decode(&self.body, None, self.now).ok().context("the job is good")?;
        let mut admission = self.admitter.admission(&job, Ingress::Amqp, None, self.now);
        admission.attempt = Some(NewAttempt::new(Channel::Sms, CARRIER, TIME_OUT, None));
        Ok(admission)
    }

    /// Decides on the admission.
    fn admit(&self) -> AdmissionDecision {
        admit(&self.admission, &mut SameSignIn::default(), &mut Quotas::default(), self.now)
    }

    /// Renders the text, and builds the carrier's request.
    fn request(&self) -> anyhow::Result<Request> {
        let (order, life) = (&self.sending.order, Duration::from_mins(5));
        let text =
            self.admitter.render(order, Channel::Sms, self.job.code.as_ref(), &self.job.params, life)?;
        let callback = callback(&self.keys, &self.sending);
        let message = OutboundMessage {
            channel: Channel::Sms,
            to: &self.job.to,
            content: &text,
            sender: None,
            life,
            reference: "reference",
            callback: Some(&callback),
            speech_url: None,
        };
        self.carrier.build(&message).context("the account sends texts")
    }

    /// Interprets the carrier's answer, decides what follows, and applies it to the row.
    fn finish(&self) -> anyhow::Result<(Dispatch, Vec<Event>)> {
        let judgement = self.carrier.judge(Channel::Sms, &self.answer);
        let mut closed = self.sending.clone();
        let attempt = closed.attempts.last_mut().context("an attempt")?;
        (attempt.outcome, attempt.closed_at) = (Some(judgement.outcome), Some(self.now));
        attempt.details = judgement.details.clone();
        let outcome = AttemptOutcome { n: attempt.n, claim: attempt.claim, judgement, at: self.now };
        let transition = decide(&closed, self.now, &self.policy).transition;
        let (events, destinations) = (transition.events.clone(), self.admission.destinations);
        let write =
            DecisionWrite::with_outcome(self.sending.clone(), outcome, Some(transition), destinations);
        let mut d = self.sending.clone();
        write_decision(&mut d, &write, &mut Quotas::default(), self.now);
        Ok((d, events))
    }

    /// Builds the event of the sent text.
    fn event(&self) {
        let pending = PendingEvents::of(&self.sent.order, self.events.clone());
        for event in &pending.events {
            black_box(CloudEvent::of(&pending, event).to_json());
        }
    }

    /// Verifies a receipt, and applies it to the row.
    fn receipt(&self) -> anyhow::Result<Dispatch> {
        let Receipt { url, headers, body } = &self.receipt;
        let callback = Callback { url, query: "", headers, body: body.as_bytes() };
        let report = self.carrier.parse_callback(&callback)?.pop().context("a receipt")?;
        let mut d = self.sent.clone();
        let receipt =
            AttemptReceipt { uid: d.order.uid, n: 1, carrier: CARRIER.to_owned(), receipt: report.receipt };
        let result = record(Some(&mut d), &receipt, self.now).result;
        ensure!(result == RecordResult::Recorded, "the receipt changes the row");
        Ok(d)
    }
}

/// The callback URL of the first attempt.
fn callback(keys: &Keys, d: &Dispatch) -> String {
    let attempt = AttemptId { uid: d.order.uid, n: 1 };
    format!("{URL}/v1/receipts/{CARRIER}/{attempt}/{}", keys.callback_token(CARRIER, attempt))
}

impl Receipt {
    /// The receipt of a delivered text, signed as Twilio signs it (twilio.com/docs/usage/security).
    fn of(url: &str) -> anyhow::Result<Self> {
        let mut mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes())?;
        mac.update(url.as_bytes());
        let form = [("MessageSid", "SM1"), ("MessageStatus", "delivered")];
        for (name, value) in form {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("x-twilio-signature", signature.parse()?);
        headers.insert("content-type", "application/x-www-form-urlencoded".parse()?);
        let body = form.map(|(name, value)| format!("{name}={value}")).join("&");
        Ok(Self { url: url.to_owned(), headers, body })
    }
}
