//! A dispatch together with its events in the outbox.

use std::ops::Deref;

use otpost::domain::dispatch::{Dispatch, Event};
use otpost::ledger::{Ledger, LedgerError, Receiver};
use uuid::Uuid;

/// A dispatch as read from the ledger, and its events that the broker does not have yet, in order.
#[derive(Debug)]
pub struct Seen {
    pub d: Dispatch,
    pub pending_events: Vec<Event>,
}

impl Seen {
    pub async fn of(ledger: &Ledger, d: Dispatch) -> Result<Self, LedgerError> {
        let pending_events = pending_events(ledger, d.order.uid).await?;
        Ok(Self { d, pending_events })
    }
}

impl Deref for Seen {
    type Target = Dispatch;

    fn deref(&self) -> &Dispatch {
        &self.d
    }
}

async fn pending_events(ledger: &Ledger, uid: Uuid) -> Result<Vec<Event>, LedgerError> {
    let batches = ledger.undelivered(&Receiver::Broker, uid).await?;
    let pending = batches.into_iter().flat_map(|batch| batch.events).filter(|pending| pending.uid == uid);
    let mut events: Vec<Event> = pending.flat_map(|pending| pending.events).collect();
    events.sort_unstable_by_key(|event| event.version);
    Ok(events)
}
