//! Receipts in: verified, recorded, answered. What follows from them is decided by whoever takes the dispatch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use crate::attempt::AttemptId;
use crate::carrier::{Callback, NotBelieved};
use crate::ledger::{Ledger, LedgerError, Recorded, Recording};
use crate::metrics::{Metrics, Received};
use crate::route::Routes;
use crate::seal::Keys;
use crate::wake::Waker;

/// How long a ledger that is away is waited for: carriers wait 15 s for an answer (Twilio's read time-out).
const PATIENCE: Duration = Duration::from_secs(9);
const AGAIN: Duration = Duration::from_millis(300);

/// What a callback is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reception {
    /// It is committed, or says nothing new: 2xx.
    Taken,
    /// Its token or signature is wrong, or it is for nobody here: 403, and nothing of it is kept.
    NotBelieved,
    /// It is not what the carrier sends: 400.
    Unreadable,
    /// The ledger is away: 503, and the carrier tries again.
    Away,
}

/// The receipts' door.
pub struct Receiver {
    ledger: Ledger,
    routes: Arc<Routes>,
    keys: Keys,
    public_url: String,
    waker: Waker,
    metrics: Arc<Metrics>,
}

impl Receiver {
    /// A door that believes callbacks to URLs under `public_url`.
    pub fn new(
        ledger: Ledger, routes: Arc<Routes>, keys: Keys, public_url: String, waker: Waker,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { ledger, routes, keys, public_url, waker, metrics }
    }

    /// Takes a callback in.
    pub async fn receive(
        &self, carrier: &str, attempt: &str, token: &str, headers: &HeaderMap, body: &[u8],
    ) -> Reception {
        // The token is checked without the ledger: strangers cost it nothing.
        let Some(account) = self.routes.account(carrier) else {
            return Reception::NotBelieved;
        };
        let count = |verdict| {
            self.metrics.receipts.get_or_create(&Received { carrier: account.name.clone(), verdict }).inc();
        };
        let Ok(id) = attempt.parse::<AttemptId>() else {
            return Reception::NotBelieved;
        };
        if !self.keys.token_is_good(&account.name, id, token) {
            count("bad_token");
            return Reception::NotBelieved;
        }
        let url =
            format!("{}/v1/receipts/{carrier}/{attempt}/{token}", self.public_url.trim_end_matches('/'));
        let receipt = match account.carrier.read(&Callback { url: &url, headers, body }) {
            Ok(Some(receipt)) => receipt,
            Ok(None) => return Reception::Taken,
            Err(NotBelieved::Signature) => {
                count("bad_signature");
                tracing::warn!(carrier, attempt = %id, "a callback's signature is wrong: is receipts.public_url what the carrier calls?");
                return Reception::NotBelieved;
            }
            Err(NotBelieved::Form) => {
                count("unreadable");
                return Reception::Unreadable;
            }
        };
        count(receipt.verdict.as_str());
        let recording = Recording { uid: id.uid, n: id.n, carrier: account.name.clone(), receipt };
        match self.record(recording).await {
            Ok(Recorded::Recorded) => {
                self.waker.wake(id.uid);
                Reception::Taken
            }
            Ok(Recorded::NothingNew) => Reception::Taken,
            Ok(Recorded::Stray) => {
                tracing::warn!(carrier, attempt = %id, "a receipt for an attempt that is not in the ledger: kept for 72 h");
                Reception::Taken
            }
            Err(e) => {
                tracing::warn!(carrier, reason = %e, "a receipt cannot be recorded: the carrier is asked to try again");
                Reception::Away
            }
        }
    }

    /// Records a receipt; a ledger that is away for a moment is waited for, as long as the carrier waits for us.
    async fn record(&self, recording: Recording) -> Result<Recorded, LedgerError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.ledger.record(recording.clone()).await {
                Err(LedgerError::Away(_)) if Instant::now() < until => tokio::time::sleep(AGAIN).await,
                done => return done,
            }
        }
    }
}
