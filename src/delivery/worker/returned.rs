//! Messages that RabbitMQ has dead-lettered: they expired in a queue, or were returned to it too often. `otpost.returned` holds them as
//! their producer published them. They are sealed and moved to another queue. Nothing here parses them, because a message that was
//! returned too often may crash its reader.

use std::sync::Arc;

use super::Worker;
use super::disposition::{Disposition, triage};
use crate::broker::topology::key;
use crate::broker::{Death, Deliveries, Delivery};
use crate::intake::BadMessage;
use crate::intake::envelope::{Envelope, dead_letter_of_other_version};
use crate::ops::crash::Point;

/// The reason in the dead letter of a message that expired in a queue of RabbitMQ, while its code may have been alive.
pub(super) const EXPIRED_IN_QUEUE: &str = "expired_in_queue";

/// A job that has expired this often becomes a dead letter unread. It expires more than once only if `otpost.suspect` has a message TTL.
/// Without this limit, a message that crashes its readers and then expires there would do so for ever.
const MAX_EXPIRATIONS: u32 = 20;

impl Worker {
    /// Consumes the messages that RabbitMQ has dead-lettered.
    pub async fn consume_returned(self: Arc<Self>, mut deliveries: Deliveries) {
        while let Some(delivery) = deliveries.next().await {
            let worker = Arc::clone(&self);
            self.tasks.spawn(async move { worker.move_returned(delivery).await });
        }
    }

    async fn move_returned(&self, mut delivery: Delivery) {
        let Some(death) = delivery.death() else { return self.pass_on(delivery).await };
        let Death { reason, queue, routing_key } = death;
        delivery.routing_key = routing_key;
        // Messages of `otpost.suspect`, and some of `otpost.dispatch`, are envelopes of ours.
        if let Some(envelope) = Envelope::open(&self.deps.rules.current().keys, &queue, &delivery.body) {
            envelope.unpack(&mut delivery);
        }
        let rule = match reason.as_str() {
            "expired" if delivery.routing_key == key::WAKE => return delivery.ack(), // the due scan finds the dispatch
            "expired" if delivery.routing_key == key::DISPATCH && delivery.expirations < MAX_EXPIRATIONS => {
                return self.quarantine_expired(delivery).await;
            }
            "expired" => EXPIRED_IN_QUEUE,
            "delivery_limit" => "delivered_too_often",
            _ => "removed_from_queue",
        };
        self.dispose(delivery, BadMessage::new("message", rule).into()).await;
    }

    /// Moves an expired job to quarantine, where it is read alone. If its code is over, it is admitted like any other job whose code is
    /// over. Otherwise its sender gets an event, and it becomes a dead letter, which can be replayed.
    async fn quarantine_expired(&self, mut delivery: Delivery) {
        if let Err(too_large @ Disposition::DeadLetter(_)) = triage(&delivery) {
            return self.dispose(delivery, too_large).await;
        }
        delivery.expirations += 1;
        tracing::info!(
            expirations = delivery.expirations,
            "a job expired in a queue of RabbitMQ: moving it to quarantine (otpost.suspect)"
        );
        let message = self.quarantined(&delivery);
        self.move_to(delivery, message, Point::QuarantineConfirmed, None).await;
    }

    /// Moves a message that RabbitMQ did not dead-letter. A process of a former version publishes its sealed dead letters with the routing
    /// key of this queue.
    async fn pass_on(&self, delivery: Delivery) {
        let rules = self.deps.rules.current();
        let life = rules.admitter.dead_letter_life();
        if let Some(letter) = dead_letter_of_other_version(&delivery, &rules.keys, life) {
            self.move_to(delivery, letter, Point::DeadLetterConfirmed, None).await;
        } else {
            let bad = BadMessage::new("routing_key", "must not be dead, which only RabbitMQ uses");
            self.dispose(delivery, bad.into()).await;
        }
    }
}
