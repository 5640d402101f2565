//! Applies otpost's events to dispatches.

use uuid::Uuid;

use super::{Core, FlowError, LockedRows, lock_account};
use crate::challenge::Challenge;
use crate::clock::after;
use crate::method::{Channel, Method};
use crate::store::{Dispatch, DispatchState, Tx, Value};

/// An event of a dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchEvent {
    /// The dispatch.
    pub dispatch: Uuid,
    /// The sequence number, which orders the events of a dispatch.
    pub sequence: i64,
    /// The state of the dispatch.
    pub state: DispatchState,
    /// The channel of the event.
    pub channel: Option<Channel>,
    /// otpost's reason.
    pub reason: Option<String>,
    /// Seconds until the number's quota has room again.
    pub retry_after_s: Option<u64>,
}

impl Core {
    /// Stores an event. Repeated and late events, and events of unknown dispatches, change nothing.
    pub async fn receive_event(&self, event: &DispatchEvent) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let Some(seen) = tx.get::<Dispatch>(event.dispatch).await? else { return Ok(()) };
        let Some(method) = tx.get::<Method>(seen.method).await? else { return Ok(()) };
        let locked = lock_account(&mut tx, method.account).await?;
        let Some(mut row) = tx.lock::<Dispatch>(event.dispatch).await? else { return Ok(()) };
        if event.sequence <= row.sequence {
            return Ok(());
        }
        let now = locked.now;
        row.sequence = event.sequence;
        row.state = event.state;
        row.channel = event.channel.or(row.channel);
        row.reason.clone_from(&event.reason);
        row.retry_at = event.retry_after_s.map(|s| after(now, std::time::Duration::from_secs(s)));
        let called = event.channel == Some(Channel::Voice)
            && matches!(event.state, DispatchState::Sent | DispatchState::Delivered);
        // Superseded or cancelled: a newer dispatch replaced it, or it is not needed any more.
        if called || matches!(event.state, DispatchState::Superseded | DispatchState::Cancelled) {
            row.call_due_at = None;
        }
        tx.update(&row).await?;
        if called && let Some(id) = row.challenge.filter(|_| row.first_channel != Channel::Voice) {
            record_call(&mut tx, id, row.method).await?;
        }
        if event.state == DispatchState::Failed && row.call_due_at.is_none() {
            end_wait(&mut tx, &row).await?;
        }
        if let Some(method) = locked.method(row.method) {
            self.update_method(&mut tx, &locked, method, &row).await?;
        }
        tx.commit().await?;
        self.metrics.count_dispatch_event(event);
        let ended_without_call = row.state.is_final() && row.channel != Some(Channel::Voice);
        if row.call_due_at.is_some() && ended_without_call {
            self.place_call_again(row.id).await?;
        }
        Ok(())
    }

    /// Stores what a carrier reports about a number, for later codes.
    async fn update_method(
        &self, tx: &mut Tx, locked: &LockedRows, method: &Method, row: &Dispatch,
    ) -> Result<(), FlowError> {
        let mut method = method.clone();
        // A failed call says nothing about a phone that receives texts.
        let concerns_phone = row.channel != Some(Channel::Voice) || method.no_texts;
        match row.reason.as_deref() {
            Some("landline") if !method.no_texts => {
                method.no_texts = true;
                tx.update(&method).await?;
            }
            Some(reason @ ("opted_out" | "invalid_number")) if concerns_phone && method.is_active() => {
                method.pause(reason);
                tx.update(&method).await?;
                self.notify_pause(tx, locked, method.id, reason).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Marks a dispatch as expired that the relay could not publish in time. If otpost did receive it, its next event
    /// corrects the state.
    pub async fn dispatch_expired(&self, dispatch: Uuid) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        if let Some(mut row) =
            tx.lock::<Dispatch>(dispatch).await?.filter(|d| d.state == DispatchState::Waiting)
        {
            row.state = DispatchState::Expired;
            row.call_due_at = None;
            tx.update(&row).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Clears the mark of an earlier rejected mail, after the mail server accepted one.
    pub async fn mail_sent(&self, group: Uuid) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        let sql = "update code set undelivered = false where group_id = $1 and undelivered";
        tx.execute(sql, &[Value::Uuid(group)]).await?;
        Ok(tx.commit().await?)
    }

    /// Marks codes as not delivered: the mail was rejected or expired, or there is no mail server.
    pub async fn mail_refused(&self, group: Uuid) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        tx.execute("update code set undelivered = true where group_id = $1", &[Value::Uuid(group)]).await?;
        Ok(tx.commit().await?)
    }

    /// Stores that otpost accepted a dispatch.
    pub async fn dispatch_confirmed(&self, dispatch: Uuid) -> Result<(), FlowError> {
        let mut tx = self.store.begin().await?;
        if let Some(mut row) = tx.lock::<Dispatch>(dispatch).await? {
            let now = tx.now().await?;
            row.confirmed_at.get_or_insert(now);
            if row.state == DispatchState::Waiting {
                row.state = DispatchState::Queued;
            }
            tx.update(&row).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Changes a challenge's channel to voice after a call replaced the text. Page and result use it. The caller has locked the
/// account.
async fn record_call(tx: &mut Tx, challenge: Uuid, method: Uuid) -> Result<(), FlowError> {
    if let Some(mut challenge) = tx.lock::<Challenge>(challenge).await?
        && challenge.state.is_live()
        && challenge.method == Some(method)
    {
        challenge.channel = Some(Channel::Voice);
        tx.update(&challenge).await?;
    }
    Ok(())
}

/// Ends the wait for the next send after a dispatch that no carrier accepted, so that the user can try another way at once. Not if
/// something was sent since. The caller has locked the account.
async fn end_wait(tx: &mut Tx, failed: &Dispatch) -> Result<(), FlowError> {
    let Some(id) = failed.challenge else { return Ok(()) };
    let newest = "where challenge = $1 order by issued_at desc, id desc limit 1";
    let is_newest =
        tx.find::<Dispatch>(newest, &[Value::Uuid(id)]).await?.is_some_and(|newest| newest.id == failed.id);
    if is_newest
        && let Some(mut challenge) = tx.lock::<Challenge>(id).await?
        && challenge.state.is_live()
        && challenge.method == Some(failed.method)
    {
        challenge.next_send_at = None;
        tx.update(&challenge).await?;
    }
    Ok(())
}
