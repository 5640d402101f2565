//! Receives events from otpost, stores them, and reads back dispatches whose events may have been missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::flow::{Core, FlowError};
use crate::otpost_client::OtpostClient;
use crate::store::{Dispatch, Value};

/// Time without any event after which all open dispatches are read back.
const READ_BACK_AFTER_SILENCE: Duration = Duration::from_secs(10);
/// Interval of the query for calls that are due.
const DUE_CALL_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of dispatches that one query returns.
const PAGE_SIZE: i64 = 200;
/// Maximum age of a dispatch that is read back.
const MAX_READ_BACK_AGE: Duration = Duration::from_secs(3600);

/// Runs until `stop` is cancelled.
pub async fn run(core: Arc<Core>, otpost: Arc<dyn OtpostClient>, stop: CancellationToken) {
    let (sender, mut events) = mpsc::channel(64);
    let receiving = otpost.receive_events(sender, stop.clone());
    let storing = async {
        let mut quiet_since = tokio::time::Instant::now();
        let mut reading = JoinSet::new();
        // Created outside the loop, because events must not reset it: a busy stream would delay due calls.
        let mut poll = tokio::time::interval(DUE_CALL_POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => {
                    let Some(event) = event else { return };
                    quiet_since = tokio::time::Instant::now();
                    match core.receive_event(&event.event).await {
                        Ok(()) => { let _ = event.stored.send(()); }
                        Err(e) => tracing::warn!(reason = %e, "an otpost event was not stored; it is redelivered"),
                    }
                }
                _ = poll.tick() => {
                    if let Err(e) = place_due_calls(&core).await {
                        tracing::warn!(reason = %e, "cannot query due calls");
                    }
                    let missed = otpost.may_have_missed() || quiet_since.elapsed() >= READ_BACK_AFTER_SILENCE;
                    if missed && reading.is_empty() {
                        quiet_since = tokio::time::Instant::now();
                        // In a task of its own: otpost may answer slowly, and events must not wait for it.
                        let (core, otpost) = (Arc::clone(&core), Arc::clone(&otpost));
                        reading.spawn(async move { read_back(&core, &*otpost).await });
                    }
                }
                Some(read) = reading.join_next() => {
                    if let Ok(Err(e)) = read {
                        tracing::warn!(reason = %e, "cannot query the status of open dispatches");
                    }
                }
            }
        }
    };
    tokio::join!(receiving, storing);
}

/// Places calls again that the user requested and that no carrier accepted in time.
async fn place_due_calls(core: &Core) -> Result<(), FlowError> {
    let mut tx = core.store.begin().await?;
    let now = tx.now().await?;
    let due = tx
        .select::<Dispatch>("where call_due_at <= $1 limit 100", &[Value::Int(now.as_millisecond())])
        .await?;
    drop(tx);
    for dispatch in due {
        if let Err(e) = core.place_call_again(dispatch.id).await {
            tracing::error!(dispatch = %dispatch.id, reason = %e, "cannot place a due call again");
        }
    }
    Ok(())
}

/// Queries otpost for the status of each dispatch that is not final, newest first.
async fn read_back(core: &Core, otpost: &dyn OtpostClient) -> Result<(), FlowError> {
    let mut tx = core.store.begin().await?;
    let now = tx.now().await?;
    drop(tx);
    let since = Value::Int(crate::clock::before(now, MAX_READ_BACK_AGE).as_millisecond());
    let mut next = (now.as_millisecond().saturating_add(1), uuid::Uuid::max());
    loop {
        let mut tx = core.store.begin().await?;
        let page = "where issued_at > $1 and (issued_at, id) < ($2, $3) and state in ('queued', 'sending', 'sent') \
                    order by issued_at desc, id desc limit $4";
        let values = [since.clone(), Value::Int(next.0), Value::Uuid(next.1), Value::Int(PAGE_SIZE)];
        let open = tx.select::<Dispatch>(page, &values).await?;
        drop(tx);
        let Some(last) = open.last() else { return Ok(()) };
        next = (last.issued_at.as_millisecond(), last.id);
        for dispatch in open {
            match otpost.read_back(dispatch.id).await {
                Ok(Some(event)) => {
                    if let Err(e) = core.receive_event(&event).await {
                        tracing::error!(dispatch = %dispatch.id, reason = %e, "cannot store an otpost event");
                    }
                }
                Ok(None) => {}
                Err(unavailable) => {
                    tracing::warn!(reason = unavailable.0, "cannot read dispatches back from otpost");
                    return Ok(());
                }
            }
        }
    }
}
