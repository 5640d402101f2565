//! Quarantine and dead letters. A message that is redelivered repeatedly is quarantined to `otpost.suspect`. There messages are
//! processed one at a time, so that one that crashes the process does not affect others. Messages that cannot be processed are
//! dead-lettered to `otpost.dead`.

use std::sync::Arc;

use tokio::sync::watch;

use super::Worker;
use crate::broker::topology::{self, key};
use crate::broker::{Deliveries, Delivery, Message};
use crate::intake::BadMessage;
use crate::intake::envelope::Envelope;
use crate::ledger::health::RETRY_INTERVAL;
use crate::ops::crash::{self, Point};

/// A message that was redelivered this often moves to quarantine. A message that was redelivered this often there becomes a
/// dead letter.
const REDELIVERIES_UNTIL_QUARANTINE: u64 = 3;
/// Maximum bytes of a body that is parsed. A job has a few hundred bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Why a message is not acknowledged after it was read.
pub(super) enum Disposition {
    /// The message cannot be processed.
    DeadLetter(BadMessage),
    /// The message was redelivered too often and is quarantined.
    Quarantine,
    /// This process is stopping, and has not begun to process the message. It is returned to its queue.
    GiveBack,
}

impl From<BadMessage> for Disposition {
    fn from(bad: BadMessage) -> Self {
        Self::DeadLetter(bad)
    }
}

/// Counts the messages that are being moved to another queue. Such a message may exist in both queues.
pub(super) struct MoveCounter(watch::Sender<usize>);

/// One such message, until it is dropped.
pub(super) struct MoveGuard<'a>(&'a watch::Sender<usize>);

impl MoveCounter {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub(super) fn start(&self) -> MoveGuard<'_> {
        self.0.send_modify(|moves| *moves += 1);
        MoveGuard(&self.0)
    }

    /// Waits until no message is being moved.
    async fn wait_until_none(&self) {
        let _ = self.0.subscribe().wait_for(|moves| *moves == 0).await;
    }
}

impl Drop for MoveGuard<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|moves| *moves -= 1);
    }
}

/// Checks whether a delivery may be processed together with others.
pub(super) fn triage(delivery: &Delivery) -> Result<(), Disposition> {
    if delivery.body.len() > MAX_BODY_BYTES {
        return Err(BadMessage::new("body", "has more than 64 KiB").into());
    }
    if delivery.delivery_count < REDELIVERIES_UNTIL_QUARANTINE {
        Ok(())
    } else {
        Err(Disposition::Quarantine)
    }
}

impl Worker {
    /// Consumes quarantined messages, one at a time. An admitted job is sent in a task of its own, because its carrier may not
    /// answer.
    pub async fn consume_quarantine(self: Arc<Self>, mut deliveries: Deliveries) {
        while let Some(mut delivery) = deliveries.next().await {
            // This message may crash the process. A message that is being moved at that moment would remain in both queues.
            self.moving.wait_until_none().await;
            if let Err(disposition) = self.open_envelope(&mut delivery) {
                self.dispose(delivery, disposition).await;
                continue;
            }
            let permit = match self.permit_for(&delivery).await {
                Ok(permit) => permit,
                Err(disposition) => {
                    self.dispose(delivery, disposition).await;
                    break;
                }
            };
            match self.process_until_ack(&delivery).await {
                Ok(follow_up) => {
                    delivery.ack();
                    let worker = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let _permit = permit;
                        worker.follow(follow_up).await;
                    });
                }
                Err(disposition) => {
                    drop(permit);
                    self.dispose(delivery, disposition).await;
                }
            }
        }
        self.give_back_left(deliveries).await;
    }

    /// Replaces a quarantined delivery with the message in its envelope, if it may be processed once more.
    pub(super) fn open_envelope(&self, delivery: &mut Delivery) -> Result<(), Disposition> {
        let opened = Envelope::open(&self.deps.rules.current().keys, topology::SUSPECT, &delivery.body);
        let is_ours = opened.is_some();
        if let Some(envelope) = opened {
            envelope.unpack(delivery);
        }
        if delivery.delivery_count >= REDELIVERIES_UNTIL_QUARANTINE {
            // No consumer ever finished this message. It is dead-lettered without being processed again.
            return Err(BadMessage::new("body", "killed_reader").into());
        }
        if is_ours {
            Ok(())
        } else {
            Err(BadMessage::new("body", "was not sealed by us, or its key is missing").into())
        }
    }

    /// Moves a message to its queue. The caller has released its permit, so that sending continues while the broker accepts
    /// nothing.
    pub(super) async fn dispose(&self, delivery: Delivery, disposition: Disposition) {
        match disposition {
            Disposition::DeadLetter(bad) => self.dead_letter(delivery, &bad).await,
            Disposition::Quarantine => self.quarantine(delivery).await,
            Disposition::GiveBack => self.give_back(delivery).await,
        }
    }

    async fn quarantine(&self, delivery: Delivery) {
        tracing::warn!(
            redeliveries = delivery.delivery_count,
            "message was redelivered too often: moved to quarantine (otpost.suspect)"
        );
        self.deps.metrics.intake.count_admission("amqp", "suspect");
        let message = self.quarantined(&delivery);
        let moving = self.moving.start();
        self.move_to(delivery, message, Point::QuarantineConfirmed, Some(moving)).await;
    }

    /// The message for `otpost.suspect`.
    pub(super) fn quarantined(&self, delivery: &Delivery) -> Message {
        let keys = &self.deps.rules.current().keys;
        Envelope::of(delivery, MAX_BODY_BYTES).message(keys, topology::SUSPECT, key::SUSPECT, vec![])
    }

    /// Dead-letters a message that cannot be processed.
    async fn dead_letter(&self, delivery: Delivery, bad: &BadMessage) {
        self.deps.metrics.intake.count_admission("amqp", "dead");
        tracing::warn!(
            field = bad.field,
            rule = bad.rule,
            "message cannot be processed: dead-lettered to otpost.dead"
        );
        let rules = self.deps.rules.current();
        let letter = Envelope::dead_letter(&delivery, &rules.keys, bad, rules.admitter.dead_letter_life());
        let moving = self.moving.start();
        self.move_to(delivery, letter, Point::DeadLetterConfirmed, Some(moving)).await;
    }

    /// Publishes the message, then acknowledges the original. A crash in between leaves two messages, never none.
    ///
    /// The original goes back to its queue on shutdown, and if it can no longer be acknowledged. With `moving`, quarantined messages wait
    /// for this move, but not while the broker accepts nothing.
    pub(super) async fn move_to(
        &self, delivery: Delivery, message: Message, confirmed: Point, mut moving: Option<MoveGuard<'_>>,
    ) {
        let Some(broker) = &self.deps.broker else { return };
        while let Err(e) = broker.publish(message.clone()).await {
            moving = None;
            tracing::debug!(reason = %e, "the broker has not confirmed a moved message: publishing it again");
            if delivery.will_be_redelivered() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
                () = self.deps.shutdown.cancelled() => return delivery.requeue(),
            }
        }
        crash::at(confirmed);
        delivery.ack();
        drop(moving);
    }
}
