//! Acts from the broker: feedback, the next step, cancel. They need no permit because they send nothing.

use std::time::Duration;

use super::Worker;
use super::disposition::Disposition;
use crate::broker::Delivery;
use crate::delivery::act::{ActResult, perform};
use crate::intake::{Act, BadMessage, Verb};
use crate::ledger::LedgerError;
use crate::ops::crash::{self, Point};

/// An act may arrive before its job is committed by another worker. An unknown id is looked up again after these pauses.
const LOOKUP_RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

impl Worker {
    /// Performs an act until it is committed or has nothing to change.
    pub(super) async fn act(&self, delivery: &Delivery, verb: Verb) -> Result<(), Disposition> {
        let act = Act::decode(verb, &delivery.body, None)?;
        self.deps.rules.current().admitter.trusts(delivery.user_id.as_deref(), &act.tenant)?;
        let mut pauses = LOOKUP_RETRY_PAUSES.iter();
        loop {
            match perform(&self.deps.ledger, &self.deps.waker, &self.deps.metrics, &act).await {
                unknown @ (Ok(ActResult::Unknown) | Err(LedgerError::UnknownForm)) => {
                    let rule = if unknown.is_ok() {
                        "is not known here"
                    } else {
                        "is of a dispatch that this version cannot read; replay it to a later version"
                    };
                    let Some(pause) = pauses.next() else { return Err(BadMessage::new("id", rule).into()) };
                    self.pause(*pause).await?;
                }
                Ok(_) => {
                    crash::at(Point::ActWritten);
                    return Ok(());
                }
                Err(e) => {
                    if let Some(rule) = e.dead_letter_reason() {
                        return Err(BadMessage::new("body", rule).into());
                    }
                    self.ledger_health.report_failure(&e);
                    self.wait_for_ledger().await?;
                }
            }
        }
    }
}
