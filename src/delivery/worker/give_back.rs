//! Messages that a stopping worker has not begun to process go back to their queue.
//!
//! RabbitMQ 3.10 counts each return in `x-delivery-count`. The counts of a message that crashes its readers and of a message whose readers
//! stop in order would be the same, so both would be quarantined. Therefore a message that was returned before is published again, which
//! starts its count anew.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Worker;
use super::disposition::{MAX_BODY_BYTES, triage};
use crate::broker::topology::{self, header};
use crate::broker::{ConnectionStates, ConsumedQueue, Deliveries, Delivery, Exchange, Message};
use crate::intake::envelope::{self, Envelope};

/// How long a stopping process waits for the confirm of a message. Without it the original message is returned.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);

impl Worker {
    /// Gives back all deliveries that no task has taken.
    pub(super) async fn give_back_left(&self, mut deliveries: Deliveries) {
        let mut giving_back = FuturesUnordered::new();
        loop {
            tokio::select! {
                left = deliveries.next_left() => match left {
                    Some(delivery) => giving_back.push(self.give_back_unread(delivery)),
                    None => break,
                },
                Some(()) = giving_back.next() => {}
            }
        }
        while giving_back.next().await.is_some() {}
    }

    /// Gives back a delivery as its queue delivered it. One that may have crashed its readers keeps its count.
    async fn give_back_unread(&self, mut delivery: Delivery) {
        let checked = if delivery.queue == ConsumedQueue::Suspect {
            self.open_envelope(&mut delivery)
        } else {
            self.unpack_given_back(&mut delivery);
            triage(&delivery)
        };
        if checked.is_ok() {
            self.give_back(delivery).await;
        } else {
            delivery.requeue();
        }
    }

    /// Gives back a delivery whose envelope is open. If it was returned before, it is published again, and then acknowledged. A crash in
    /// between, or a confirm that comes too late, leaves two messages, never none. The ledger knows the id of a second job. A second `next`
    /// changes nothing if it names its step.
    pub(super) async fn give_back(&self, delivery: Delivery) {
        if let Some(broker) = self.deps.broker.as_ref().filter(|_| delivery.delivery_count > 0) {
            let publishing = async {
                // A process that stops soon after its start may not be connected yet.
                let _ = broker.watch().wait_for(ConnectionStates::publishing).await;
                broker.publish(self.copy_of(&delivery)).await
            };
            if matches!(tokio::time::timeout(CONFIRM_TIMEOUT, publishing).await, Ok(Ok(()))) {
                return delivery.ack();
            }
        }
        delivery.requeue();
    }

    /// The message to publish again. RabbitMQ lets nobody publish a message in the name of another user, so a message with a user is
    /// sealed.
    fn copy_of(&self, delivery: &Delivery) -> Message {
        if delivery.queue == ConsumedQueue::Suspect {
            return self.quarantined(delivery);
        }
        if delivery.user_id.is_some() {
            let keys = &self.deps.rules.current().keys;
            let envelope = Envelope::of(delivery, MAX_BODY_BYTES);
            return envelope.message(keys, topology::DISPATCH, &delivery.routing_key, vec![]);
        }
        let traceparent = delivery.traceparent.iter().cloned();
        Message {
            exchange: Exchange::Otpost,
            routing_key: delivery.routing_key.clone(),
            body: delivery.body.clone(),
            message_id: delivery.message_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
            kind: "again",
            content_type: "application/json",
            headers: traceparent.map(|context| (header::TRACEPARENT.to_owned(), context)).collect(),
            user_id: None,
            expiration: None,
            mandatory: true,
        }
    }

    /// Replaces a delivery of `otpost.dispatch` that a worker has given back sealed with the original message.
    pub(super) fn unpack_given_back(&self, delivery: &mut Delivery) {
        if delivery.content_type.as_deref() != Some(envelope::CONTENT_TYPE) {
            return;
        }
        let keys = &self.deps.rules.current().keys;
        if let Some(envelope) = Envelope::open(keys, topology::DISPATCH, &delivery.body) {
            envelope.unpack(delivery);
        }
    }
}
