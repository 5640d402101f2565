//! Acts that come over the broker: feedback, the next step, cancel. They take no slot: they send nothing.

use std::time::Duration;

use super::Worker;
use crate::act::{Acted, perform};
use crate::broker::Delivery;
use crate::crash::{self, Point};
use crate::dispatch::{Act, Verb};
use crate::outage::AGAIN;

/// An act may overtake its job, which is in other hands then: an unknown id is looked up again after so long.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

impl Worker {
    /// Does an act; acked when it is committed, or when there is nothing to do.
    pub(super) async fn act(&self, delivery: Delivery, verb: Verb) {
        let act = match Act::decode(verb, &delivery.body, None) {
            Ok(act) => act,
            Err(bad) => return self.bury(delivery, &bad.field, &bad.rule).await,
        };
        if let Err(bad) = self.parts.admitter.now().trusts(delivery.user_id.as_deref(), &act.tenant) {
            return self.bury(delivery, &bad.field, &bad.rule).await;
        }
        let mut looks = LOOK_AGAIN.iter();
        loop {
            match perform(&self.parts.ledger, &self.parts.waker, &self.parts.metrics, &act).await {
                Ok(Acted::Unknown) => {
                    let Some(pause) = looks.next() else {
                        return self.bury(delivery, "id", "is not known here").await;
                    };
                    if !self.pause(*pause).await {
                        return;
                    }
                }
                Ok(_) => {
                    crash::at(Point::ActWritten);
                    return delivery.ack();
                }
                Err(e) => {
                    self.outage.begins(&e);
                    if !self.pause(AGAIN).await {
                        return;
                    }
                    self.outage.over().await;
                }
            }
        }
    }

    /// Waits; false when this process stops meanwhile: what is held comes again to whoever is there then.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.parts.shutdown.cancelled() => false,
        }
    }
}
