//! Asks a carrier what became of an attempt, before the attempt is repeated.

use std::sync::Arc;
use std::time::Duration;

use super::{Snapshot, Worker};
use crate::carriers::Request;
use crate::delivery::routing::Account;
use crate::domain::attempt::{Attempt, Reason, Receipt, ReceiptStatus};
use crate::ledger::{AttemptReceipt, RecordResult};

/// Time-out of a status request to a carrier.
const STATUS_TIME_OUT: Duration = Duration::from_secs(3);

/// The result of a status request to a carrier.
pub(super) enum StatusAnswer {
    /// A new receipt, which was recorded in the ledger.
    NewReceipt,
    /// No receipt, or one that changes nothing.
    Nothing,
    /// A receipt that could not be written.
    Unwritten,
}

impl Worker {
    /// Queries the carrier for the status of an attempt, by the carrier's message id, or else by our reference. Skipped when the
    /// account has no free permit, because its carrier may not be answering.
    pub(super) async fn query_status(&self, snapshot: &Snapshot, n: u16) -> StatusAnswer {
        let Some((account, attempt, request)) = status_query(snapshot, n) else {
            return StatusAnswer::Nothing;
        };
        let country = snapshot.d.order.country.as_deref();
        if snapshot.rules.restrictions.current().is_paused(&account.name, country) {
            return StatusAnswer::Nothing;
        }
        let Some(permit) = account.permit() else { return StatusAnswer::Nothing };
        let answer = account.client.send(&request, STATUS_TIME_OUT).await;
        drop(permit);
        let Some(receipt) =
            answer.ok().and_then(|answer| account.carrier.parse_status(attempt.channel, &answer))
        else {
            return StatusAnswer::Nothing;
        };
        let receipt = with_unknown_key(receipt, snapshot);
        let attempt_receipt =
            AttemptReceipt { uid: snapshot.d.order.uid, n, carrier: account.name.clone(), receipt };
        match self.deps.ledger.record(attempt_receipt).await {
            Ok(RecordResult::Recorded) => StatusAnswer::NewReceipt,
            Ok(_) => StatusAnswer::Nothing,
            // The carrier has the message, so it is not repeated. The row is due again when its lease ends.
            Err(e) => {
                self.ledger_health.report_failure(&e);
                StatusAnswer::Unwritten
            }
        }
    }
}

/// Returns the account, the attempt and the status request. `None` if the carrier cannot be queried.
fn status_query(snapshot: &Snapshot, n: u16) -> Option<(Arc<Account>, &Attempt, Request)> {
    let d = &snapshot.d;
    let attempt = d.attempts.iter().find(|a| a.n == n)?;
    let account = Arc::clone(snapshot.rules.routes.account(&attempt.carrier)?);
    let ours = d.reference_of(attempt);
    let theirs = attempt.details.message_id.as_deref();
    let keeps = account.carrier.keeps_references(attempt.channel);
    let request = account.carrier.status_request(attempt.channel, theirs.or(keeps.then_some(&ours))?)?;
    Some((account, attempt, request))
}

/// Corrects the receipt of a completed call of which nobody knows whether a key was pressed. A notice asks for none.
fn with_unknown_key(receipt: Receipt, snapshot: &Snapshot) -> Receipt {
    if receipt.reason != Some(Reason::NoKey) {
        return receipt;
    }
    let is_notice = !snapshot.rules.admitter.uses_code(&snapshot.d.order.template);
    let status = if is_notice { ReceiptStatus::Delivered } else { ReceiptStatus::Interim };
    Receipt { status, reason: None, ..receipt }
}
