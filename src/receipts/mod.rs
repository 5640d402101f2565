//! Delivery receipts (DLR) of carriers.
//!
//! Comes in: a carrier's callback. Goes out: a recorded receipt, and a wake-up for a worker. Nothing here makes a decision from a
//! receipt.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, Delivery, Exchange, Intake, Message};
use crate::carriers::{Callback, InvalidCallback, Report, strongest};
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::delivery::wake::Waker;
use crate::domain::attempt::{AttemptId, Receipt};
use crate::intake::BadMessage;
use crate::intake::envelope::Envelope;
use crate::ledger::health::{LedgerHealth, RETRY_EVERY};
use crate::ledger::{Ledger, LedgerError, Recorded, Recording};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::{Metrics, Received};
use crate::seal::Keys;

/// Maximum wait for the ledger. Carriers wait 15 s for an answer (Twilio's read time-out).
const COMMIT_WAIT: Duration = Duration::from_secs(4);
/// Delay before a queued receipt that this process cannot open or parse is put back.
const LATER: Duration = Duration::from_secs(5);
/// The queue for receipts during a ledger outage.
const QUEUE: &str = "otpost.receipts";
/// The version of a queued receipt.
const VERSION: u32 = 1;

/// A receipt as it is queued on the broker.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    v: u32,
    /// `None`: the receipt's `reference` names the attempt.
    #[serde(flatten)]
    attempt: Option<AttemptId>,
    carrier: String,
    #[serde(flatten)]
    receipt: Receipt,
}

impl Kept {
    fn new(attempt: Option<AttemptId>, carrier: &str, receipt: Receipt) -> Self {
        Self { v: VERSION, attempt, carrier: carrier.to_owned(), receipt }
    }
}

/// A callback as the listener received it.
pub struct Incoming<'a> {
    /// The configured name of the carrier, from the path.
    pub carrier: &'a str,
    /// The attempt's id, from the path. `None` at the URL of the account.
    pub attempt: Option<&'a str>,
    /// The token, from the path.
    pub token: &'a str,
    /// The raw query; empty without one.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
}

impl Incoming<'_> {
    /// The URL that the carrier was given.
    fn url(&self, public_url: &str) -> String {
        let (base, carrier, token) = (public_url.trim_end_matches('/'), self.carrier, self.token);
        let attempt = self.attempt.map(|attempt| format!("/{attempt}")).unwrap_or_default();
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        format!("{base}/v1/receipts/{carrier}{attempt}/{token}{query}")
    }
}

/// The callback URL of an account that has one URL for all its messages.
pub fn account_url(public_url: &str, keys: &Keys, carrier: &str) -> String {
    format!("{}/v1/receipts/{carrier}/{}", public_url.trim_end_matches('/'), keys.account_token(carrier))
}

/// The answer to a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// The receipt was recorded or queued, or changes nothing: 2xx.
    Taken,
    /// The token or signature is wrong, or there is no such account: 403. Nothing is stored.
    InvalidCallback,
    /// The body is not in the carrier's format, or cannot be stored: 400.
    Unreadable,
    /// The ledger does not answer: 503, and the carrier retries.
    Unavailable,
}

/// The dependencies of a receiver.
pub struct ReceiptDeps {
    /// The ledger.
    pub ledger: Ledger,
    /// The rules in force.
    pub rules: Live<Rules>,
    /// Base URL of the callbacks. Carriers sign the URL.
    pub public_url: String,
    /// Wakes a worker for dispatches that became due.
    pub waker: Waker,
    /// Queues receipts during a ledger outage; `None` without a broker.
    pub broker: Option<Broker>,
    /// Metrics of this process.
    pub metrics: Arc<Metrics>,
}

/// Verifies and records the callbacks of carriers.
pub struct Receiver {
    deps: ReceiptDeps,
    /// Whether the ledger answers.
    pub ledger_health: LedgerHealth,
}

impl std::ops::Deref for Receiver {
    type Target = ReceiptDeps;

    fn deref(&self) -> &ReceiptDeps {
        &self.deps
    }
}

impl Receiver {
    /// Creates a receiver for callbacks to URLs under `public_url`.
    pub fn new(deps: ReceiptDeps) -> Self {
        Self { deps, ledger_health: LedgerHealth::new() }
    }

    /// Verifies a callback and records its receipts.
    pub async fn receive(&self, incoming: &Incoming<'_>) -> Reception {
        // The token is checked without the ledger, so that forged callbacks cause no load on it.
        let rules = self.rules.now();
        let Some(account) = rules.routes.account(incoming.carrier) else {
            return Reception::InvalidCallback;
        };
        let count = |verdict| {
            self.metrics.receipts.get_or_create(&Received { carrier: account.name.clone(), verdict }).inc();
        };
        let Ok(attempt) = incoming.attempt.map(str::parse::<AttemptId>).transpose() else {
            return Reception::InvalidCallback;
        };
        let is_good = match attempt {
            Some(attempt) => rules.keys.token_is_good(&account.name, attempt, incoming.token),
            None => rules.keys.account_token_is_good(&account.name, incoming.token),
        };
        if !is_good {
            count("bad_token");
            return Reception::InvalidCallback;
        }
        let url = incoming.url(&self.public_url);
        let Incoming { query, headers, body, .. } = *incoming;
        let reports = match account.carrier.parse_callback(&Callback { url: &url, query, headers, body }) {
            Ok(reports) => reports,
            Err(InvalidCallback::Signature) => {
                count("bad_signature");
                tracing::warn!(
                    carrier = account.name,
                    "a callback's signature is wrong: is receipts.public_url what the carrier calls?"
                );
                return Reception::InvalidCallback;
            }
            Err(InvalidCallback::Form) => {
                count("unreadable");
                return Reception::Unreadable;
            }
        };
        let reports = match attempt {
            // All reports are about the attempt that the URL names.
            Some(_) => {
                let receipt = strongest(reports.into_iter().map(|report| report.receipt));
                receipt.map(|receipt| Report { attempt, receipt }).into_iter().collect()
            }
            None => reports,
        };
        for Report { attempt, receipt } in reports {
            count(receipt.verdict.as_str());
            let reception = self.take(Kept::new(attempt, &account.name, receipt)).await;
            if reception != Reception::Taken {
                return reception;
            }
        }
        Reception::Taken
    }

    /// Records a receipt. During a ledger outage it is queued.
    async fn take(&self, kept: Kept) -> Reception {
        crash::at(Point::ReceiptBelieved);
        match self.record(kept.clone()).await {
            Ok((attempt, Recorded::Recorded)) => {
                crash::at(Point::ReceiptRecorded);
                self.wake(attempt);
                Reception::Taken
            }
            Ok((_, Recorded::NothingNew)) => Reception::Taken,
            Ok((attempt, Recorded::Stray)) => {
                tracing::warn!(
                    carrier = kept.carrier,
                    attempt = attempt.map(tracing::field::display),
                    "a receipt for an attempt that is not in the ledger: kept for 72 h"
                );
                Reception::Taken
            }
            Err(e) => {
                self.ledger_health.begins(&e);
                // The ledger would refuse this receipt later too. Only the carrier can keep it.
                if e.bars().is_some() { Reception::Unreadable } else { self.queue_receipt(&kept).await }
            }
        }
    }

    fn wake(&self, attempt: Option<AttemptId>) {
        if let Some(attempt) = attempt {
            self.waker.wake(attempt.uid);
        }
    }

    /// Queues a receipt on the broker during a ledger outage. The message contains only the parsed receipt, sealed.
    async fn queue_receipt(&self, kept: &Kept) -> Reception {
        if let Some(broker) = &self.broker
            && broker.publish(self.sealed(kept)).await.is_ok()
        {
            crash::at(Point::ReceiptSetAside);
            return Reception::Taken;
        }
        tracing::warn!(carrier = kept.carrier, "receipt cannot be stored: answered 503, the carrier retries");
        Reception::Unavailable
    }

    fn sealed(&self, kept: &Kept) -> Message {
        let plain = serde_json::to_vec(kept).expect("plain structs with text keys serialise");
        Self::message(self.rules.now().keys.seal_message(QUEUE, &plain).into_bytes())
    }

    fn message(body: Vec<u8>) -> Message {
        Message {
            exchange: Exchange::Otpost,
            routing_key: "receipt".to_owned(),
            body,
            message_id: uuid::Uuid::now_v7().to_string(),
            kind: "receipt",
            content_type: crate::intake::envelope::CONTENT_TYPE,
            headers: vec![],
            user_id: None,
            mandatory: true,
        }
    }

    /// Consumes queued receipts and records them when the ledger answers.
    pub async fn consume(self: Arc<Self>, mut intake: Intake) {
        while let Some(delivery) = intake.next().await {
            let opened = std::str::from_utf8(&delivery.body)
                .ok()
                .map(|text| self.rules.now().keys.open_message(QUEUE, text));
            let Some(Ok(plain)) = opened else {
                tracing::error!("a kept receipt does not open: is a key missing in keys.previous?");
                tokio::spawn(Arc::clone(&self).later(delivery));
                continue;
            };
            match serde_json::from_slice::<Kept>(&plain) {
                Ok(kept) if kept.v <= VERSION => {
                    if let Err(bad) = self.record_kept(kept).await {
                        tokio::spawn(Arc::clone(&self).dead_letter(delivery, bad));
                    } else {
                        delivery.ack();
                    }
                }
                // A later version wrote this receipt, and a process of that version must read it.
                _ => drop(tokio::spawn(Arc::clone(&self).later(delivery))),
            }
        }
    }

    async fn record_kept(&self, kept: Kept) -> Result<(), BadMessage> {
        loop {
            match self.record_once(kept.clone()).await {
                Ok((attempt, recorded)) => {
                    crash::at(Point::KeptReceiptRecorded);
                    if recorded == Recorded::Recorded {
                        self.wake(attempt);
                    }
                    return Ok(());
                }
                Err(e) => {
                    if let Some(rule) = e.bars() {
                        return Err(BadMessage::new("receipt", rule));
                    }
                    self.ledger_health.begins(&e);
                    tokio::time::sleep(RETRY_EVERY).await;
                    self.ledger_health.over().await;
                }
            }
        }
    }

    /// Dead-letters a receipt that cannot be recorded.
    async fn dead_letter(self: Arc<Self>, delivery: Delivery, bad: BadMessage) {
        tracing::error!(rule = bad.rule, "queued receipt cannot be recorded: dead-lettered to otpost.dead");
        let letter = Envelope::dead_letter(&delivery, &self.rules.now().keys, &bad);
        self.give(letter, delivery).await;
    }

    /// Puts a message back, for another process or a later time.
    async fn later(self: Arc<Self>, delivery: Delivery) {
        tokio::time::sleep(LATER).await;
        self.give(Self::message(delivery.body.clone()), delivery).await;
    }

    /// Publishes a replacement of a delivery, then acknowledges the delivery. Stops if the broker delivers the original again by
    /// itself.
    async fn give(&self, message: Message, delivery: Delivery) {
        let Some(broker) = &self.broker else { return };
        while !delivery.comes_again() {
            if broker.publish(message.clone()).await.is_ok() {
                delivery.ack();
                return;
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// Records a receipt. Waits briefly for the ledger while the carrier waits for the answer.
    async fn record(&self, kept: Kept) -> Result<(Option<AttemptId>, Recorded), LedgerError> {
        if !self.ledger_health.answers() {
            return Err(LedgerError::Away("known to be away".to_owned()));
        }
        let late = || LedgerError::Away("no answer in time".to_owned());
        tokio::time::timeout(COMMIT_WAIT, self.record_once(kept)).await.map_err(|_| late())?
    }

    async fn record_once(&self, kept: Kept) -> Result<(Option<AttemptId>, Recorded), LedgerError> {
        let Kept { attempt, carrier, receipt, .. } = kept;
        match (attempt, receipt.reference.clone()) {
            (Some(AttemptId { uid, n }), _) => {
                let recorded = self.ledger.record(Recording { uid, n, carrier, receipt }).await?;
                Ok((attempt, recorded))
            }
            (None, Some(reference)) => self.ledger.record_by_reference(&carrier, &reference, receipt).await,
            (None, None) => Ok((None, Recorded::NothingNew)),
        }
    }
}
