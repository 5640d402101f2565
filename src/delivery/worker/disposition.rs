//! What is set aside: messages that come back again and again go to `otpost.suspect`, where each is read alone, so that one
//! which kills its reader cannot take its neighbours along; and what cannot be used goes to `otpost.dead`.

use std::sync::Arc;

use tokio::sync::watch;

use super::Worker;
use crate::broker::{Delivery, Intake, Message};
use crate::intake::BadMessage;
use crate::intake::envelope::Envelope;
use crate::ledger::health::RETRY_EVERY;
use crate::ops::crash::{self, Point};

/// A message that came back so often is no longer read among others; alone, no longer at all.
const RETURNS: u64 = 3;
/// The largest body that is read: a job has a few hundred bytes.
const LARGEST: usize = 64 * 1024;

/// Why a message is not acked when it was read.
pub(super) enum Disposition {
    /// It cannot be used.
    DeadLetter(BadMessage),
    /// It came back too often to be read among others.
    Quarantine,
    /// This process stops: it comes again to whoever is there then.
    Hold,
}

impl From<BadMessage> for Disposition {
    fn from(bad: BadMessage) -> Self {
        Self::DeadLetter(bad)
    }
}

/// How many messages are on their way to where they are set aside: the broker may have them there already, and where they
/// came from as well.
pub(super) struct Moving(watch::Sender<usize>);

/// One of them, until it is dropped.
struct Move<'a>(&'a watch::Sender<usize>);

impl Moving {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    fn begins(&self) -> Move<'_> {
        self.0.send_modify(|moves| *moves += 1);
        Move(&self.0)
    }

    /// Waits until there is none.
    async fn over(&self) {
        let _ = self.0.subscribe().wait_for(|moves| *moves == 0).await;
    }
}

impl Drop for Move<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|moves| *moves -= 1);
    }
}

/// Whether a delivery may be read among others.
pub(super) fn triage(delivery: &Delivery) -> Result<(), Disposition> {
    if delivery.body.len() > LARGEST {
        return Err(BadMessage::new("body", "has more than 64 KiB").into());
    }
    if delivery.times_returned < RETURNS { Ok(()) } else { Err(Disposition::Quarantine) }
}

impl Worker {
    /// Reads suspects, one at a time. What was admitted is sent beside the next ones: its carrier may hang.
    pub async fn consume_suspects(self: Arc<Self>, mut intake: Intake) {
        while let Some(mut delivery) = intake.next().await {
            // It may kill this process: what is under way then would be in both places.
            self.moving.over().await;
            if let Err(disposition) = self.unwrap(&mut delivery) {
                self.dispose(delivery, disposition).await;
                continue;
            }
            let slot = self.slot_for(&delivery).await;
            match self.read(&delivery).await {
                Ok(then) => {
                    delivery.ack();
                    let worker = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let _slot = slot;
                        worker.follow(then).await;
                    });
                }
                Err(disposition) => {
                    drop(slot);
                    self.dispose(delivery, disposition).await;
                }
            }
        }
    }

    /// Puts the message that a suspect's envelope holds into its place, if it may be read once more.
    fn unwrap(&self, delivery: &mut Delivery) -> Result<(), Disposition> {
        let opened = Envelope::open(&self.deps.keys.now(), "otpost.suspect", &delivery.body);
        let is_ours = opened.is_some();
        if let Some(envelope) = opened {
            envelope.unpack(delivery);
        }
        if delivery.times_returned >= RETURNS {
            // Its reader never came to an end: it is not read again, not even here.
            return Err(BadMessage::new("body", "killed_reader").into());
        }
        if is_ours {
            Ok(())
        } else {
            Err(BadMessage::new("body", "was not sealed by us, or its key is missing").into())
        }
    }

    /// Moves a message to where it belongs. It holds no slot: for as long as the broker takes nothing, codes go on.
    pub(super) async fn dispose(&self, delivery: Delivery, aside: Disposition) {
        match aside {
            Disposition::DeadLetter(bad) => self.dead_letter(delivery, &bad).await,
            Disposition::Quarantine => self.suspect(delivery).await,
            Disposition::Hold => {}
        }
    }

    async fn suspect(&self, delivery: Delivery) {
        tracing::warn!(
            returns = delivery.times_returned,
            "a message came back too often: it goes to otpost.suspect"
        );
        self.deps.metrics.admitted("amqp", "suspect");
        let message = Envelope::of(&delivery, LARGEST).message(
            &self.deps.keys.now(),
            "otpost.suspect",
            "suspect",
            vec![],
        );
        self.move_to(delivery, message, Point::SuspectConfirmed).await;
    }

    /// Moves a message that cannot be used to `otpost.dead`.
    async fn dead_letter(&self, delivery: Delivery, bad: &BadMessage) {
        self.deps.metrics.admitted("amqp", "dead");
        tracing::warn!(
            field = bad.field,
            rule = bad.rule,
            "a message cannot be used: it goes to otpost.dead"
        );
        let letter = Envelope::letter(&delivery, &self.deps.keys.now(), bad);
        self.move_to(delivery, letter, Point::DeadLetterConfirmed).await;
    }

    /// Confirmed first, acked then: a crash in between leaves two, never none. It is left as it is where it cannot be acked
    /// by us any more, and comes again, and where this process stops before that.
    async fn move_to(&self, delivery: Delivery, message: Message, confirmed: Point) {
        let Some(broker) = &self.deps.broker else { return };
        // Suspects wait for it, but not for as long as the broker takes nothing.
        let mut moving = Some(self.moving.begins());
        while let Err(e) = broker.publish(message.clone()).await {
            moving = None;
            tracing::debug!(reason = %e, "what is set aside is not confirmed yet");
            if delivery.comes_again() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_EVERY) => {}
                () = self.deps.shutdown.cancelled() => return,
            }
        }
        crash::at(confirmed);
        delivery.ack();
        drop(moving);
    }
}
