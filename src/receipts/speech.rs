//! The speech of a call, for a recipient who has pressed a key.

use std::sync::Arc;
use std::time::Duration;

use super::{CallbackAnswer, QueuedReceipt, Receiver};
use crate::carriers::Report;
use crate::delivery::routing::Account;
use crate::delivery::rules::Rules;
use crate::domain::attempt::{AttemptId, ReceiptStatus};
use crate::domain::channel::Channel;
use crate::domain::clock::between;
use crate::domain::dispatch::{Order, RenderedMessage, Spoken};
use crate::ledger::health::RETRY_INTERVAL;

/// Maximum wait for the ledger. The recipient hears nothing meanwhile.
const READ_WAIT: Duration = Duration::from_secs(4);
/// Maximum wait for the record of a pressed key, before the answer.
const RECORD_WAIT: Duration = Duration::from_secs(1);
/// Maximum number of tries to record a pressed key.
const RECORD_TRIES: u32 = 30;

impl Receiver {
    /// Answers with the speech, and records that the call was heard. Without a valid code, and during a ledger outage, the call ends.
    pub(super) async fn speak(
        self: &Arc<Self>, rules: &Rules, account: &Account, attempt: AttemptId, reports: Vec<Report>,
    ) -> CallbackAnswer {
        let is_pressed = reports.iter().any(|report| report.receipt.status == ReceiptStatus::Delivered);
        let spoken = if is_pressed { self.spoken(rules, attempt).await } else { None };
        let Some(answer) = account.carrier.speech(spoken.as_ref()) else {
            return CallbackAnswer::InvalidCallback;
        };
        if spoken.is_some() {
            for Report { receipt, .. } in reports {
                self.deps.metrics.receipts.count_callback(&account.name, receipt.status.as_str());
                let (receiver, queued) =
                    (Arc::clone(self), QueuedReceipt::new(Some(attempt), &account.name, receipt));
                let recording = tokio::spawn(async move { receiver.take_until_taken(queued).await });
                // The recipient waits for the record only briefly.
                let _ = tokio::time::timeout(RECORD_WAIT, recording).await;
            }
        }
        CallbackAnswer::Speech(answer)
    }

    /// Records or queues a receipt. Nobody sends it again, so a failure is repeated while a call usually lasts.
    async fn take_until_taken(&self, queued: QueuedReceipt) {
        for _ in 0..RECORD_TRIES {
            if matches!(self.take(queued.clone()).await, CallbackAnswer::Taken) {
                return;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        tracing::error!(
            carrier = queued.carrier,
            dispatch.uid = queued.attempt.map(|id| tracing::field::display(id.uid)),
            attempt = queued.attempt.map(|id| id.n),
            "a pressed key could not be recorded: the call counts as unheard"
        );
    }

    /// Returns what an attempt says, if its code is still valid.
    async fn spoken(&self, rules: &Rules, attempt: AttemptId) -> Option<Spoken> {
        let silent = |reason: &str, order: Option<&Order>| {
            tracing::warn!(
                dispatch.uid = %attempt.uid, dispatch.id = order.map(|order| tracing::field::display(order.id)),
                trace_id = order.and_then(Order::trace_id), attempt = attempt.n, reason,
                "a recipient pressed a key, and the code was not spoken"
            );
        };
        let d = match tokio::time::timeout(READ_WAIT, self.deps.ledger.read(attempt.uid)).await {
            Ok(Ok(Some(d))) => d,
            Ok(Ok(None)) => {
                silent("there is no such dispatch", None);
                return None;
            }
            Ok(Err(e)) => {
                self.ledger_health.report_failure(&e);
                silent("the ledger does not answer", None);
                return None;
            }
            Err(_) => {
                silent("the ledger does not answer in time", None);
                return None;
            }
        };
        let is_call = d.attempts.iter().any(|a| a.n == attempt.n && a.channel == Channel::Voice);
        let life = between(self.deps.ledger.now(), d.order.expires_at);
        // A final dispatch has no code any more.
        if !is_call || d.code.is_none() || d.stop.is_some() || life.is_zero() {
            silent("the code is no longer valid", Some(&d.order));
            return None;
        }
        let opened = rules.admitter.open(&d);
        let contents =
            opened.inspect_err(|_| silent("its sealed code cannot be opened", Some(&d.order))).ok()?;
        let (code, params) = (contents.code.as_ref(), &contents.params);
        let rendered = rules.admitter.render(&d.order, Channel::Voice, code, params, life);
        if let Ok(RenderedMessage::Speech(spoken)) = rendered {
            return Some(spoken);
        }
        silent("its template cannot be rendered", Some(&d.order));
        None
    }
}
