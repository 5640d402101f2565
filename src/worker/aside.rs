//! What is set aside: messages that come back again and again go to `otpost.suspect`, where each is read alone, so that one
//! which kills its reader cannot take its neighbours along; and what cannot be used goes to `otpost.dead`.

use std::sync::Arc;

use super::Worker;
use crate::broker::topology::header;
use crate::broker::{Delivery, Intake, Message};
use crate::crash::{self, Point};
use crate::envelope::Envelope;
use crate::outage::AGAIN;

/// A message that came back so often is no longer read among others; alone, no longer at all.
const RETURNS: u64 = 3;
/// The largest body that is read: a job has a few hundred bytes.
const LARGEST: usize = 64 * 1024;
/// Of a dead letter's body no more is kept: a broker refuses what is too large, and closes the channel over it.
const LONGEST_LETTER: usize = 1024 * 1024;

impl Worker {
    /// Sets a delivery aside that is not to be read here. Answers it back when it may be read.
    pub(super) async fn sift(&self, delivery: Delivery) -> Option<Delivery> {
        if delivery.body.len() > LARGEST {
            self.bury(delivery, "body", "has more than 64 KiB").await;
            return None;
        }
        if delivery.times_returned < RETURNS {
            return Some(delivery);
        }
        tracing::warn!(
            returns = delivery.times_returned,
            "a message came back too often: it goes to otpost.suspect"
        );
        self.parts.metrics.admitted("amqp", "suspect");
        let message = Envelope::of(&delivery, LARGEST).message(
            &self.parts.keys.now(),
            "otpost.suspect",
            "suspect",
            vec![],
        );
        if self.publish(message).await {
            crash::at(Point::SuspectConfirmed);
            delivery.ack();
        }
        None
    }

    /// Reads suspects, one at a time, each to its end.
    pub async fn consume_suspects(self: Arc<Self>, mut intake: Intake) {
        while let Some(mut delivery) = intake.next().await {
            let opened = Envelope::open(&self.parts.keys.now(), "otpost.suspect", &delivery.body);
            if delivery.times_returned >= RETURNS {
                // Its reader never came to an end: it is not read again, not even here.
                if let Some(envelope) = opened {
                    envelope.unpack(&mut delivery);
                }
                self.bury(delivery, "body", "killed_reader").await;
                continue;
            }
            match opened {
                Some(envelope) => {
                    envelope.unpack(&mut delivery);
                    Arc::clone(&self).read(delivery).await;
                }
                None => self.bury(delivery, "body", "was not sealed by us, or its key is missing").await,
            }
        }
    }

    /// Moves a message that cannot be used to `otpost.dead`: sealed whole, the headers hold our reason.
    pub(super) async fn bury(&self, delivery: Delivery, field: &str, rule: &str) {
        self.parts.metrics.admitted("amqp", "dead");
        tracing::warn!(field, rule, "a message cannot be used: it goes to otpost.dead");
        let headers = vec![
            (header::FIELD.to_owned(), field.to_owned()),
            (header::REASON.to_owned(), rule.to_owned()),
            (header::BYTES.to_owned(), delivery.body.len().to_string()),
        ];
        let envelope = Envelope::of(&delivery, LONGEST_LETTER);
        if self.publish(envelope.message(&self.parts.keys.now(), "otpost.dead", "dead", headers)).await {
            crash::at(Point::DeadLetterConfirmed);
            delivery.ack();
        }
    }

    /// Confirmed first, acked then: a crash in between leaves two, never none. False: this process stops before that.
    async fn publish(&self, message: Message) -> bool {
        let Some(broker) = &self.parts.broker else { return false };
        while let Err(e) = broker.publish(message.clone()).await {
            tracing::debug!(reason = %e, "what is set aside is not confirmed yet");
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.parts.shutdown.cancelled() => return false,
            }
        }
        true
    }
}
