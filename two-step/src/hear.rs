//! Hears what otpost says, writes it down, and reads back what may have been missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::carrier::Carrier;
use crate::flow::{Core, FlowError};
use crate::store::{Dispatch, Value};

/// After so much silence each open dispatch is read back.
const SILENCE: Duration = Duration::from_secs(10);
/// Calls that were asked for are looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// Dispatches that one query finds.
const GROUP: i64 = 200;
/// A dispatch is read back for so long after it was made.
const READ_BACK_LIFE: Duration = Duration::from_secs(3600);

/// Works until told to stop.
pub async fn run(core: Arc<Core>, carrier: Arc<dyn Carrier>, stop: CancellationToken) {
    let (to_us, mut events) = mpsc::channel(64);
    let hearing = carrier.hear(to_us, stop.clone());
    let writing = async {
        let mut quiet_since = tokio::time::Instant::now();
        let mut reading = JoinSet::new();
        // Not made anew by each event: a busy stream must not keep calls that are due waiting.
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => {
                    let Some(event) = event else { return };
                    quiet_since = tokio::time::Instant::now();
                    match core.hear(&event.heard).await {
                        Ok(()) => { let _ = event.written.send(()); }
                        Err(e) => tracing::warn!(reason = %e, "otpost event not stored: it will be redelivered"),
                    }
                }
                _ = look.tick() => {
                    if let Err(e) = call_overdue(&core).await {
                        tracing::warn!(reason = %e, "cannot query due calls");
                    }
                    let missed = carrier.may_have_missed() || quiet_since.elapsed() >= SILENCE;
                    if missed && reading.is_empty() {
                        quiet_since = tokio::time::Instant::now();
                        // Beside the events: otpost may answer slowly, and events must not wait for it.
                        let (core, carrier) = (Arc::clone(&core), Arc::clone(&carrier));
                        reading.spawn(async move { read_back(&core, &*carrier).await });
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
    tokio::join!(hearing, writing);
}

/// A call that was asked for and that no carrier had in time is ordered anew.
async fn call_overdue(core: &Core) -> Result<(), FlowError> {
    let mut tx = core.store.begin().await?;
    let now = tx.now().await?;
    let due = tx
        .select::<Dispatch>("where call_due_at <= $1 limit 100", &[Value::Int(now.as_millisecond())])
        .await?;
    drop(tx);
    for dispatch in due {
        if let Err(e) = core.call_anew(dispatch.id).await {
            tracing::error!(dispatch = %dispatch.id, reason = %e, "a call cannot be ordered anew");
        }
    }
    Ok(())
}

/// Asks otpost about every dispatch that is not final, newest first.
async fn read_back(core: &Core, carrier: &dyn Carrier) -> Result<(), FlowError> {
    let mut tx = core.store.begin().await?;
    let now = tx.now().await?;
    drop(tx);
    let since = Value::Int(crate::clock::before(now, READ_BACK_LIFE).as_millisecond());
    let mut next = (now.as_millisecond().saturating_add(1), uuid::Uuid::max());
    loop {
        let mut tx = core.store.begin().await?;
        let page = "where issued_at > $1 and (issued_at, id) < ($2, $3) and state in ('queued', 'sending', 'sent') \
                    order by issued_at desc, id desc limit $4";
        let values = [since.clone(), Value::Int(next.0), Value::Uuid(next.1), Value::Int(GROUP)];
        let open = tx.select::<Dispatch>(page, &values).await?;
        drop(tx);
        let Some(last) = open.last() else { return Ok(()) };
        next = (last.issued_at.as_millisecond(), last.id);
        for dispatch in open {
            match carrier.read_back(dispatch.id).await {
                Ok(Some(heard)) => {
                    if let Err(e) = core.hear(&heard).await {
                        tracing::error!(dispatch = %dispatch.id, reason = %e, "an event cannot be written down");
                    }
                }
                Ok(None) => {}
                Err(away) => {
                    tracing::warn!(reason = away.0, "otpost cannot be asked about dispatches");
                    return Ok(());
                }
            }
        }
    }
}
