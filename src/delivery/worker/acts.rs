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

/// Maximum number of acts that wait for their job. Each holds a place of the prefetch, which jobs need. Further acts become dead
/// letters at once, which can be replayed.
pub(super) const MAX_WAITING_ACTS: usize = 64;

impl Worker {
    /// Performs an act until it is committed or has nothing to change.
    pub(super) async fn act(&self, delivery: &Delivery, verb: Verb) -> Result<(), Disposition> {
        let act = Act::decode(verb, &delivery.body, None)?;
        self.deps.rules.current().admitter.trusts(delivery.user_id.as_deref(), &act.tenant)?;
        let mut pauses = LOOKUP_RETRY_PAUSES.iter();
        let mut waiting = None;
        loop {
            match perform(&self.deps.ledger, &self.deps.waker, &self.deps.metrics, &act).await {
                unknown @ (Ok(ActResult::Unknown) | Err(LedgerError::UnknownForm)) => {
                    let rule = if unknown.is_ok() {
                        "is not known here"
                    } else {
                        "is of a dispatch that this version cannot read; replay it to a later version"
                    };
                    let Some(pause) = pauses.next() else { return Err(BadMessage::new("id", rule).into()) };
                    if waiting.is_none() {
                        waiting = Some(self.waiting_acts.try_acquire().map_err(|_| {
                            BadMessage::new("id", "is not known here, and many such acts wait already")
                        })?);
                    }
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
