//! Hears what otpost says, writes it down, and reads back what may have been missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::carrier::Carrier;
use crate::flow::{Core, FlowError};
use crate::store::{Dispatch, Value};

/// After so much silence each open dispatch is read back.
const SILENCE: Duration = Duration::from_secs(10);
/// Calls that were asked for are looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// Dispatches that are read back at once.
const GROUP: i64 = 200;
/// A dispatch is read back for so long after it was made.
const READ_BACK_LIFE: Duration = Duration::from_secs(3600);

/// Works until told to stop.
pub async fn run(core: Arc<Core>, carrier: Arc<dyn Carrier>, stop: CancellationToken) {
    let (to_us, mut events) = mpsc::channel(64);
    let hearing = carrier.hear(to_us, stop.clone());
    let writing = async {
        let mut quiet_since = tokio::time::Instant::now();
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
                        Err(e) => tracing::warn!(reason = %e, "an event of otpost is not written down; it comes again"),
                    }
                }
                _ = look.tick() => {
                    if let Err(e) = call_overdue(&core).await {
                        tracing::warn!(reason = %e, "calls that are due cannot be looked for");
                    }
                    if carrier.may_have_missed() || quiet_since.elapsed() >= SILENCE {
                        quiet_since = tokio::time::Instant::now();
                        if let Err(e) = read_back(&core, &*carrier).await {
                            tracing::warn!(reason = %e, "open dispatches are not read back");
                        }
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
        core.call_anew(dispatch.id).await?;
    }
    Ok(())
}

/// Asks otpost about dispatches that are not final.
async fn read_back(core: &Core, carrier: &dyn Carrier) -> Result<(), FlowError> {
    let mut tx = core.store.begin().await?;
    let since = crate::clock::before(tx.now().await?, READ_BACK_LIFE).as_millisecond();
    let open = tx
        .select::<Dispatch>(
            "where issued_at > $1 and state in ('queued', 'sending', 'sent') order by issued_at desc limit $2",
            &[Value::Int(since), Value::Int(GROUP)],
        )
        .await?;
    drop(tx);
    for dispatch in open {
        match carrier.read_back(dispatch.id).await {
            Ok(Some(heard)) => core.hear(&heard).await?,
            Ok(None) => {}
            Err(away) => {
                tracing::warn!(reason = away.0, "otpost cannot be asked about dispatches");
                return Ok(());
            }
        }
    }
    Ok(())
}
