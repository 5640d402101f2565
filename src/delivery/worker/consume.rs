//! Messages from the broker. A message is acknowledged after its ledger write is committed. The remaining work follows after that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::disposition::{Disposition, triage};
use super::sending::Sending;
use super::{Action, Snapshot, Worker};
use crate::broker::{Deliveries, Delivery};
use crate::delivery::rules::Rules;
use crate::delivery::wake;
use crate::domain::attempt::{NotSentCause, Outcome};
use crate::intake::{BadMessage, Verb};
use crate::ledger::health::RETRY_INTERVAL;
use crate::ops::crash::{self, Point};

/// The remaining work after a message was acknowledged.
pub(super) enum FollowUp {
    /// Nothing.
    Nothing,
    /// Take a dispatch that may be due.
    Take(Uuid),
    /// Send the attempt that was committed with the job.
    Send(Box<(Snapshot, Sending)>),
    /// Read the row, and send the attempt if an earlier try committed it.
    SendIfCommitted(Box<Claimed>),
}

/// An attempt that may have been committed.
pub(super) struct Claimed {
    /// The uid of the dispatch.
    pub(super) uid: Uuid,
    /// The claim by which the attempt is known to be ours.
    pub(super) claim: Uuid,
    /// The message to send; `None` if it waited for too long.
    pub(super) sending: Option<Sending>,
    /// The rules that it was admitted by.
    pub(super) rules: Arc<Rules>,
}

impl Worker {
    /// Consumes messages until the deliveries end.
    pub async fn consume(self: Arc<Self>, mut deliveries: Deliveries) {
        while let Some(mut delivery) = deliveries.next().await {
            let worker = Arc::clone(&self);
            self.unpack_given_back(&mut delivery);
            if let Err(disposition) = triage(&delivery) {
                self.tasks.spawn(async move { worker.dispose(delivery, disposition).await });
                continue;
            }
            if delivery.routing_key == "dispatch" {
                self.record_fresh_work();
                self.observe_age(&delivery);
            }
            let permit = match self.permit_for(&delivery).await {
                Ok(permit) => permit,
                Err(disposition) => {
                    self.tasks.spawn(async move { worker.dispose(delivery, disposition).await });
                    break;
                }
            };
            self.tasks.spawn(async move {
                match worker.process_until_ack(&delivery).await {
                    Ok(follow_up) => {
                        delivery.ack();
                        worker.follow(follow_up).await;
                    }
                    Err(disposition) => {
                        // Other dispatches use the permit while the broker accepts nothing. The prefetch bounds how many messages
                        // are held.
                        drop(permit);
                        worker.dispose(delivery, disposition).await;
                    }
                }
            });
        }
        self.give_back_left(deliveries).await;
    }

    /// Takes a permit for a message that may send. Acts send nothing and need none. Returns early on shutdown.
    pub(super) async fn permit_for(
        &self, delivery: &Delivery,
    ) -> Result<Option<OwnedSemaphorePermit>, Disposition> {
        if delivery.routing_key.parse::<Verb>().is_ok() {
            return Ok(None);
        }
        tokio::select! {
            permit = Arc::clone(&self.permits).acquire_owned() => Ok(permit.ok()),
            () = self.deps.shutdown.cancelled() => Err(Disposition::GiveBack),
        }
    }

    /// Processes a message until it may be acknowledged: admits a job, or executes an act. A panic, such as in a library that parses
    /// untrusted text, affects only this message.
    pub(super) async fn process_until_ack(&self, delivery: &Delivery) -> Result<FollowUp, Disposition> {
        let result = AssertUnwindSafe(self.process_message(delivery)).catch_unwind().await;
        result.unwrap_or_else(|_| Err(BadMessage::new("body", "caused a panic while it was read").into()))
    }

    async fn process_message(&self, delivery: &Delivery) -> Result<FollowUp, Disposition> {
        match delivery.routing_key.as_str() {
            "dispatch" => self.job(delivery).await,
            "wake" => Ok(wake::read(&delivery.body).map_or(FollowUp::Nothing, FollowUp::Take)),
            other => {
                let rule = "is not one of dispatch, feedback, next, cancel, wake";
                let verb = other.parse().map_err(|_| BadMessage::new("routing_key", rule))?;
                self.act(delivery, verb).await.map(|()| FollowUp::Nothing)
            }
        }
    }

    /// Waits after a failure until the ledger answers. Returns early on shutdown, because the grace period is for work that can
    /// still finish.
    pub(super) async fn wait_for_ledger(&self) -> Result<(), Disposition> {
        self.pause(RETRY_INTERVAL).await?;
        tokio::select! {
            () = self.ledger_health.wait_until_healthy() => Ok(()),
            () = self.deps.shutdown.cancelled() => Err(Disposition::GiveBack),
        }
    }

    /// Waits for `pause`. Returns early on shutdown.
    pub(super) async fn pause(&self, pause: Duration) -> Result<(), Disposition> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.deps.shutdown.cancelled() => Err(Disposition::GiveBack),
        }
    }

    /// Does the remaining work of an acknowledged message. What is rare is boxed, because each message in flight has a future of the size
    /// of the largest branch.
    pub(super) async fn follow(&self, follow_up: FollowUp) {
        match follow_up {
            FollowUp::Nothing => {}
            FollowUp::Take(uid) => Box::pin(self.take_and_run(uid)).await,
            FollowUp::Send(sent) => {
                crash::at(Point::JobAcked);
                let (snapshot, sending) = *sent;
                let action = self.send_attempt(snapshot, sending).await;
                if !matches!(action, Action::Nothing) {
                    Box::pin(self.run_actions(action)).await;
                }
            }
            FollowUp::SendIfCommitted(claimed) => Box::pin(self.send_if_committed(*claimed)).await,
        }
    }

    /// Sends an attempt if it was committed, or closes it as not sent if it waited for too long.
    async fn send_if_committed(&self, Claimed { uid, claim, sending, rules }: Claimed) {
        let row = loop {
            match self.ledger().read(uid).await {
                Ok(row) => break row,
                Err(e) => {
                    self.ledger_health.report_failure(&e);
                    if !e.is_temporary() {
                        return; // The deadline closes the attempt.
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        };
        let Some(snapshot) = row.map(|d| Snapshot::new(d, &rules)) else { return };
        let action = match (sending, snapshot.d.open_attempt().filter(|open| open.claim == claim).cloned()) {
            (Some(sending), Some(_)) => self.send_attempt(snapshot, sending).await,
            (None, Some(open)) => {
                self.finish(snapshot, &open, Outcome::NotSent(NotSentCause::TooLate).into()).await
            }
            (_, None) => return,
        };
        self.run_actions(action).await;
    }
}
