//! Delivery receipts (DLR) of carriers.
//!
//! Comes in: a carrier's callback. Goes out: a recorded receipt, and a wake-up for a worker. Nothing here makes a decision from a
//! receipt.
//!
//! A call that asks for a key requests its speech here, when the recipient has pressed one (`speech`).

mod speech;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, Deliveries, Delivery, Exchange, Message};
use crate::carriers::{Callback, InvalidCallback, Report, SPEECH_QUERY, SpeechAnswer, strongest};
use crate::config::live::Live;
use crate::delivery::rules::Rules;
use crate::delivery::wake::DispatchWaker;
use crate::domain::attempt::{AttemptId, Receipt};
use crate::intake::BadMessage;
use crate::intake::envelope::Envelope;
use crate::ledger::health::{LedgerHealth, RETRY_INTERVAL};
use crate::ledger::{AttemptReceipt, Ledger, LedgerError, RecordResult};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::Metrics;
use crate::seal::Keys;

/// Maximum wait for the ledger. Carriers wait 15 s for an answer (Twilio's read time-out).
const COMMIT_WAIT: Duration = Duration::from_secs(4);
/// Delay before a queued receipt that this process cannot open or parse is put back.
const REQUEUE_DELAY: Duration = Duration::from_secs(5);
/// The queue for receipts during a ledger outage.
const QUEUE: &str = "otpost.receipts";
/// The version of a queued receipt.
const VERSION: u32 = 1;

/// A receipt as it is queued on the broker.
#[derive(Clone, Serialize, Deserialize)]
struct QueuedReceipt {
    v: u32,
    /// `None`: the receipt's `message_id` identifies the attempt.
    #[serde(flatten)]
    attempt: Option<AttemptId>,
    carrier: String,
    #[serde(flatten)]
    receipt: Receipt,
}

impl QueuedReceipt {
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
pub enum CallbackAnswer {
    /// The receipt was recorded or queued, or changes nothing: 2xx.
    Taken,
    /// The recipient of a call has pressed a key: 200 with the speech.
    Speech(SpeechAnswer),
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
    /// Whether the ledger answers. All parts of the process share it.
    pub ledger_health: Arc<LedgerHealth>,
    /// The rules in force.
    pub rules: Live<Rules>,
    /// Base URL of the callbacks. Carriers sign the URL.
    pub public_url: String,
    /// Wakes a worker for dispatches that became due.
    pub waker: DispatchWaker,
    /// Queues receipts during a ledger outage; `None` without a broker.
    pub broker: Option<Broker>,
    /// Metrics of this process.
    pub metrics: Arc<Metrics>,
}

/// Verifies and records the callbacks of carriers.
pub struct Receiver {
    deps: ReceiptDeps,
    /// Whether the ledger answers.
    ledger_health: Arc<LedgerHealth>,
}

impl Receiver {
    /// Creates a receiver for callbacks to URLs under `public_url`.
    pub fn new(deps: ReceiptDeps) -> Self {
        Self { ledger_health: Arc::clone(&deps.ledger_health), deps }
    }

    /// Verifies a callback and records its receipts.
    pub async fn receive(self: &Arc<Self>, incoming: &Incoming<'_>) -> CallbackAnswer {
        // The token is checked without the ledger, so that forged callbacks cause no load on it.
        let rules = self.deps.rules.current();
        let Some(account) = rules.routes.account(incoming.carrier) else {
            return CallbackAnswer::InvalidCallback;
        };
        let count = |verdict| self.deps.metrics.receipts.count_callback(&account.name, verdict);
        let Ok(attempt) = incoming.attempt.map(str::parse::<AttemptId>).transpose() else {
            return CallbackAnswer::InvalidCallback;
        };
        let is_good = match attempt {
            Some(attempt) => rules.keys.token_is_good(&account.name, attempt, incoming.token),
            None => rules.keys.account_token_is_good(&account.name, incoming.token),
        };
        if !is_good {
            count("bad_token");
            return CallbackAnswer::InvalidCallback;
        }
        let url = incoming.url(&self.deps.public_url);
        let Incoming { query, headers, body, .. } = *incoming;
        let reports = match account.carrier.parse_callback(&Callback { url: &url, query, headers, body }) {
            Ok(reports) => reports,
            Err(InvalidCallback::Signature) => {
                count("bad_signature");
                tracing::warn!(
                    carrier = account.name,
                    "a callback's signature is wrong: check receipts.public_url and the account's token"
                );
                return CallbackAnswer::InvalidCallback;
            }
            Err(InvalidCallback::Form) => {
                count("unreadable");
                return CallbackAnswer::Unreadable;
            }
        };
        // A proxy may have added `=` after the name.
        let asks_for_speech = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == SPEECH_QUERY);
        if asks_for_speech && let Some(attempt) = attempt {
            return self.speak(&rules, account, attempt, reports).await;
        }
        let reports = match attempt {
            // All reports are about the attempt that the URL names.
            Some(_) => {
                let receipt = strongest(reports.into_iter().map(|report| report.receipt));
                receipt.map(|receipt| Report { attempt, receipt }).into_iter().collect()
            }
            None => reports,
        };
        for Report { attempt, receipt } in reports {
            count(receipt.status.as_str());
            let reception = self.take(QueuedReceipt::new(attempt, &account.name, receipt)).await;
            if matches!(reception, CallbackAnswer::Unavailable) {
                tracing::warn!(
                    carrier = account.name,
                    dispatch.uid = attempt.map(|id| tracing::field::display(id.uid)),
                    attempt = attempt.map(|id| id.n),
                    "receipt cannot be stored: answered 503, the carrier retries"
                );
            }
            if !matches!(reception, CallbackAnswer::Taken) {
                return reception;
            }
        }
        CallbackAnswer::Taken
    }

    /// Records a receipt. During a ledger outage it is queued.
    async fn take(&self, queued: QueuedReceipt) -> CallbackAnswer {
        crash::at(Point::ReceiptVerified);
        match self.record(queued.clone()).await {
            Ok((attempt, RecordResult::Recorded)) => {
                crash::at(Point::ReceiptRecorded);
                self.wake(attempt);
                CallbackAnswer::Taken
            }
            Ok((_, RecordResult::NothingNew)) => CallbackAnswer::Taken,
            Ok((attempt, RecordResult::Stray)) => {
                tracing::warn!(
                    carrier = queued.carrier,
                    dispatch.uid = attempt.map(|id| tracing::field::display(id.uid)),
                    attempt = attempt.map(|id| id.n),
                    "a receipt for an attempt that is not in the ledger: kept for 72 h"
                );
                CallbackAnswer::Taken
            }
            Err(e) => {
                self.ledger_health.report_failure(&e);
                // The ledger would refuse this receipt later too. Only the carrier can keep it.
                if e.dead_letter_reason().is_some() {
                    CallbackAnswer::Unreadable
                } else {
                    self.queue_receipt(&queued).await
                }
            }
        }
    }

    fn wake(&self, attempt: Option<AttemptId>) {
        if let Some(attempt) = attempt {
            self.deps.waker.wake(attempt.uid);
        }
    }

    /// Queues a receipt on the broker during a ledger outage. The message contains only the parsed receipt, sealed.
    async fn queue_receipt(&self, queued: &QueuedReceipt) -> CallbackAnswer {
        if let Some(broker) = &self.deps.broker
            && broker.publish(self.queued_message(queued)).await.is_ok()
        {
            crash::at(Point::ReceiptQueued);
            return CallbackAnswer::Taken;
        }
        CallbackAnswer::Unavailable
    }

    fn queued_message(&self, queued: &QueuedReceipt) -> Message {
        let plain = serde_json::to_vec(queued).expect("plain structs with text keys serialise");
        Self::message(self.deps.rules.current().keys.seal_message(QUEUE, &plain).into_bytes())
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
            expiration: None,
            mandatory: true,
        }
    }

    /// Consumes queued receipts and records them when the ledger answers.
    pub async fn consume(self: Arc<Self>, mut deliveries: Deliveries) {
        while let Some(delivery) = deliveries.next().await {
            let opened = std::str::from_utf8(&delivery.body)
                .ok()
                .map(|text| self.deps.rules.current().keys.open_message(QUEUE, text));
            let Some(Ok(plain)) = opened else {
                tracing::error!(
                    "a queued receipt cannot be opened: add the key that sealed it to keys.previous"
                );
                tokio::spawn(Arc::clone(&self).requeue_later(delivery));
                continue;
            };
            match serde_json::from_slice::<QueuedReceipt>(&plain) {
                // In parallel, so that they are recorded in groups. The prefetch bounds their number.
                Ok(queued) if queued.v <= VERSION => {
                    let receiver = Arc::clone(&self);
                    tokio::spawn(async move {
                        match receiver.record_queued(queued).await {
                            Ok(()) => delivery.ack(),
                            Err(bad) => receiver.dead_letter(delivery, bad).await,
                        }
                    });
                }
                // A later version wrote this receipt, and a process of that version must read it.
                _ => {
                    tracing::warn!("a queued receipt has an unknown form: returned to otpost.receipts");
                    tokio::spawn(Arc::clone(&self).requeue_later(delivery));
                }
            }
        }
    }

    async fn record_queued(&self, queued: QueuedReceipt) -> Result<(), BadMessage> {
        loop {
            match self.record_once(queued.clone()).await {
                Ok((attempt, recorded)) => {
                    crash::at(Point::QueuedReceiptRecorded);
                    if recorded == RecordResult::Recorded {
                        self.wake(attempt);
                    }
                    return Ok(());
                }
                Err(e) => {
                    if let Some(rule) = e.dead_letter_reason() {
                        return Err(BadMessage::new("receipt", rule));
                    }
                    self.ledger_health.report_failure(&e);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    self.ledger_health.wait_until_healthy().await;
                }
            }
        }
    }

    /// Dead-letters a receipt that cannot be recorded.
    async fn dead_letter(self: Arc<Self>, delivery: Delivery, bad: BadMessage) {
        tracing::error!(rule = bad.rule, "queued receipt cannot be recorded: dead-lettered to otpost.dead");
        let rules = self.deps.rules.current();
        let letter = Envelope::dead_letter(&delivery, &rules.keys, &bad, rules.admitter.dead_letter_life());
        self.replace(letter, delivery).await;
    }

    /// Puts a message back, for another process or a later time.
    async fn requeue_later(self: Arc<Self>, delivery: Delivery) {
        tokio::time::sleep(REQUEUE_DELAY).await;
        self.replace(Self::message(delivery.body.clone()), delivery).await;
    }

    /// Publishes a replacement of a delivery, then acknowledges the delivery. Stops if the broker delivers the original again by
    /// itself.
    async fn replace(&self, message: Message, delivery: Delivery) {
        let Some(broker) = &self.deps.broker else { return };
        while !delivery.will_be_redelivered() {
            if broker.publish(message.clone()).await.is_ok() {
                delivery.ack();
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Records a receipt. Waits briefly for the ledger while the carrier waits for the answer.
    async fn record(&self, queued: QueuedReceipt) -> Result<(Option<AttemptId>, RecordResult), LedgerError> {
        if let Some(outage) = self.ledger_health.reason() {
            return Err(outage);
        }
        let late = LedgerError::TooSlow("a receipt was not recorded within 4 s");
        tokio::time::timeout(COMMIT_WAIT, self.record_once(queued)).await.map_err(|_| late)?
    }

    async fn record_once(
        &self, queued: QueuedReceipt,
    ) -> Result<(Option<AttemptId>, RecordResult), LedgerError> {
        let QueuedReceipt { attempt, carrier, receipt, .. } = queued;
        match (attempt, receipt.message_id.clone()) {
            (Some(AttemptId { uid, n }), _) => {
                let recorded = self.deps.ledger.record(AttemptReceipt { uid, n, carrier, receipt }).await?;
                Ok((attempt, recorded))
            }
            (None, Some(reference)) => {
                self.deps.ledger.record_by_message_id(&carrier, &reference, receipt).await
            }
            (None, None) => Ok((None, RecordResult::NothingNew)),
        }
    }
}
