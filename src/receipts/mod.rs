//! Delivery receipts (DLR) of carriers.
//!
//! Comes in: a carrier's callback. Goes out: a recorded receipt, and a wake-up for a worker. Nothing here decides what follows from a
//! receipt.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, Delivery, Exchange, Intake, Message};
use crate::carriers::{Callback, InvalidCallback};
use crate::config::live::Live;
use crate::delivery::routing::Routes;
use crate::delivery::wake::Waker;
use crate::domain::attempt::AttemptId;
use crate::intake::BadMessage;
use crate::intake::envelope::Envelope;
use crate::ledger::health::{LedgerHealth, RETRY_EVERY};
use crate::ledger::{Ledger, LedgerError, Recorded, Recording};
use crate::ops::crash::{self, Point};
use crate::ops::metrics::{Metrics, Received};
use crate::seal::Keys;

/// How long a ledger that does not answer is waited for: carriers wait 15 s for an answer (Twilio's read time-out).
const COMMIT_WAIT: Duration = Duration::from_secs(4);
/// A kept receipt that this process cannot read is put back after so long.
const LATER: Duration = Duration::from_secs(5);
/// Where receipts are kept while the ledger is away.
const QUEUE: &str = "otpost.receipts";
/// The version of a kept receipt.
const VERSION: u32 = 1;

/// A receipt as it is kept on the broker.
#[derive(Serialize, Deserialize)]
struct Kept {
    v: u32,
    #[serde(flatten)]
    recording: Recording,
}

/// What a callback is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// It is committed, or says nothing new: 2xx.
    Taken,
    /// Its token or signature is wrong, or it is for nobody here: 403, and nothing of it is kept.
    InvalidCallback,
    /// It is not what the carrier sends, or what can be kept: 400.
    Unreadable,
    /// The ledger is away: 503, and the carrier tries again.
    Away,
}

/// What the receipts' door needs.
pub struct ReceiptDeps {
    /// The memory.
    pub ledger: Ledger,
    /// Whose callbacks are taken.
    pub routes: Live<Routes>,
    /// Tokens, and the seal of what is kept.
    pub keys: Live<Keys>,
    /// Where carriers call: what they sign.
    pub public_url: String,
    /// For dispatches that became due.
    pub waker: Waker,
    /// Keeps receipts while the ledger is away.
    pub broker: Option<Broker>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The receipts' door.
pub struct Receiver {
    parts: ReceiptDeps,
    /// Whether the ledger answers.
    pub ledger_health: LedgerHealth,
}

impl std::ops::Deref for Receiver {
    type Target = ReceiptDeps;

    fn deref(&self) -> &ReceiptDeps {
        &self.parts
    }
}

impl Receiver {
    /// A door that believes callbacks to URLs under `public_url`.
    pub fn new(parts: ReceiptDeps) -> Self {
        Self { parts, ledger_health: LedgerHealth::new() }
    }

    /// Takes a callback in.
    pub async fn receive(
        &self, carrier: &str, attempt: &str, token: &str, headers: &HeaderMap, body: &[u8],
    ) -> Reception {
        // The token is checked without the ledger: strangers cost it nothing.
        let routes = self.routes.now();
        let Some(account) = routes.account(carrier) else {
            return Reception::InvalidCallback;
        };
        let count = |verdict| {
            self.metrics.receipts.get_or_create(&Received { carrier: account.name.clone(), verdict }).inc();
        };
        let Ok(id) = attempt.parse::<AttemptId>() else {
            return Reception::InvalidCallback;
        };
        if !self.keys.now().token_is_good(&account.name, id, token) {
            count("bad_token");
            return Reception::InvalidCallback;
        }
        let url =
            format!("{}/v1/receipts/{carrier}/{attempt}/{token}", self.public_url.trim_end_matches('/'));
        let receipt = match account.carrier.parse_callback(&Callback { url: &url, headers, body }) {
            Ok(Some(receipt)) => receipt,
            Ok(None) => return Reception::Taken,
            Err(InvalidCallback::Signature) => {
                count("bad_signature");
                tracing::warn!(carrier, attempt = %id, "a callback's signature is wrong: is receipts.public_url what the carrier calls?");
                return Reception::InvalidCallback;
            }
            Err(InvalidCallback::Form) => {
                count("unreadable");
                return Reception::Unreadable;
            }
        };
        count(receipt.verdict.as_str());
        let recording = Recording { uid: id.uid, n: id.n, carrier: account.name.clone(), receipt };
        crash::at(Point::ReceiptBelieved);
        match self.record(recording.clone()).await {
            Ok(Recorded::Recorded) => {
                crash::at(Point::ReceiptRecorded);
                self.waker.wake(id.uid);
                Reception::Taken
            }
            Ok(Recorded::NothingNew) => Reception::Taken,
            Ok(Recorded::Stray) => {
                tracing::warn!(carrier, attempt = %id, "a receipt for an attempt that is not in the ledger: kept for 72 h");
                Reception::Taken
            }
            Err(e) => {
                self.ledger_health.begins(&e);
                // What is refused now would be refused later too: only the carrier is left to keep it.
                if e.bars().is_some() { Reception::Unreadable } else { self.set_aside(&recording).await }
            }
        }
    }

    /// The ledger is away: a receipt is kept on the broker until it is back. Only what was read from it, sealed.
    async fn set_aside(&self, recording: &Recording) -> Reception {
        if let Some(broker) = &self.broker
            && broker.publish(self.kept(recording)).await.is_ok()
        {
            crash::at(Point::ReceiptSetAside);
            return Reception::Taken;
        }
        tracing::warn!(
            carrier = recording.carrier,
            "a receipt cannot be kept: the carrier is asked to try again"
        );
        Reception::Away
    }

    fn kept(&self, recording: &Recording) -> Message {
        let plain = serde_json::to_vec(&Kept { v: VERSION, recording: recording.clone() })
            .expect("plain structs with text keys serialise");
        Self::message(self.keys.now().seal_letter(QUEUE, &plain).into_bytes())
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

    /// Records what was kept on the broker, when the ledger is back.
    pub async fn consume(self: Arc<Self>, mut intake: Intake) {
        while let Some(delivery) = intake.next().await {
            let opened =
                std::str::from_utf8(&delivery.body).ok().map(|text| self.keys.now().open_letter(QUEUE, text));
            let Some(Ok(plain)) = opened else {
                tracing::error!("a kept receipt does not open: is a key missing in keys.previous?");
                tokio::spawn(Arc::clone(&self).later(delivery));
                continue;
            };
            match serde_json::from_slice::<Kept>(&plain) {
                Ok(kept) if kept.v <= VERSION => {
                    if let Err(bad) = self.record_kept(kept.recording).await {
                        tokio::spawn(Arc::clone(&self).dead_letter(delivery, bad));
                    } else {
                        delivery.ack();
                    }
                }
                // A later version wrote it, and one of its kind reads it.
                _ => drop(tokio::spawn(Arc::clone(&self).later(delivery))),
            }
        }
    }

    async fn record_kept(&self, recording: Recording) -> Result<(), BadMessage> {
        loop {
            match self.ledger.record(recording.clone()).await {
                Ok(recorded) => {
                    crash::at(Point::KeptReceiptRecorded);
                    if recorded == Recorded::Recorded {
                        self.waker.wake(recording.uid);
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

    /// Moves what cannot be recorded to `otpost.dead`.
    async fn dead_letter(self: Arc<Self>, delivery: Delivery, bad: BadMessage) {
        tracing::error!(rule = bad.rule, "a kept receipt cannot be recorded: it goes to otpost.dead");
        let letter = Envelope::letter(&delivery, &self.keys.now(), &bad);
        self.give(letter, delivery).await;
    }

    /// Puts a message back, for somebody else or for later.
    async fn later(self: Arc<Self>, delivery: Delivery) {
        tokio::time::sleep(LATER).await;
        self.give(Self::message(delivery.body.clone()), delivery).await;
    }

    /// Publishes what is in a delivery's place from now on: confirmed first, acked then. What comes again by itself is left.
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

    /// Records a receipt; a ledger that is away for a moment is waited for, while the carrier waits for us.
    async fn record(&self, recording: Recording) -> Result<Recorded, LedgerError> {
        if !self.ledger_health.answers() {
            return Err(LedgerError::Away("known to be away".to_owned()));
        }
        let late = || LedgerError::Away("no answer in time".to_owned());
        tokio::time::timeout(COMMIT_WAIT, self.ledger.record(recording)).await.map_err(|_| late())?
    }
}
