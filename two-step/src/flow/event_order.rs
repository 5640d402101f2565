//! Reads events in a stable order: a new event never appears before one that a reader has seen. The order of ids is not
//! stable, because a transaction that began earlier may commit later.

use uuid::Uuid;

use super::counting::lock_subject;
use super::users::ERASED_EVENT_KIND;
use super::{Core, FlowError};
use crate::store::{Event, Tx, Value};

/// Maximum number of events that one statement numbers.
const EVENTS_PER_STATEMENT: u64 = 2000;

impl Core {
    /// Returns a product's events after one of them, oldest first.
    pub async fn events_after(
        &self, product: &str, after: Uuid, limit: u32,
    ) -> Result<Vec<Event>, FlowError> {
        self.number_events().await?;
        let mut tx = self.store.begin().await?;
        let product = Value::Text(product.to_owned());
        let place = if after.is_nil() { 0 } else { position_of(&mut tx, product.clone(), after).await? };
        let rest = "where product = $1 and seq > $2 and kind <> $3 order by seq limit $4";
        let values = [
            product,
            Value::Int(place),
            Value::Text(ERASED_EVENT_KIND.to_owned()),
            Value::Int(i64::from(limit)),
        ];
        Ok(tx.select::<Event>(rest, &values).await?)
    }

    /// Numbers the committed events that have no number yet. Only one transaction does so at a time.
    pub async fn number_events(&self) -> Result<(), FlowError> {
        loop {
            let mut tx = self.store.begin().await?;
            if tx.query("select id from event where seq is null limit 1", &[]).await?.is_empty() {
                return Ok(());
            }
            let now = tx.now().await?;
            lock_subject(&mut tx, &self.keys, "event_numbers", "", now).await?;
            let number = "update event set seq = numbered.seq from (select id, row_number() over (order by id) \
                          + (select coalesce(max(seq), 0) from event) as seq from event where seq is null \
                          order by id limit $1) as numbered where event.id = numbered.id";
            let done = tx.execute(number, &[Value::Int(EVENTS_PER_STATEMENT.cast_signed())]).await?;
            tx.commit().await?;
            if done < EVENTS_PER_STATEMENT {
                return Ok(());
            }
        }
    }
}

/// Returns the position of an event. If it was swept, it is 400 days old, and events with lower ids have been read.
async fn position_of(tx: &mut Tx, product: Value, event: Uuid) -> Result<i64, FlowError> {
    let own = "select seq from event where id = $1";
    if let Some(row) = tx.query(own, &[Value::Uuid(event)]).await?.first() {
        return Ok(row.int(0));
    }
    let before =
        "select seq from event where product = $1 and id < $2 and seq is not null order by id desc limit 1";
    Ok(tx.query(before, &[product, Value::Uuid(event)]).await?.first().map_or(0, |row| row.int(0)))
}
