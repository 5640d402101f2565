//! What is due: taken by name when somebody wakes us, and by a scan once a second.
//!
//! Whoever decides that a dispatch is to be tried again soon calls for that moment. The scan alone would not do: it takes what
//! has been due for longest first, and that may be a hundred thousand dispatches of a carrier which takes none.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use uuid::Uuid;

use crate::delivery::wake::Call;
use crate::delivery::worker::Worker;

/// The due scan: what a lost wake-up costs at most.
const SCAN: Duration = Duration::from_secs(1);
/// Rows that one scan takes at most.
const MAX_TAKEN_PER_SCAN: usize = 128;
/// The same while what is due finds no carrier that takes anything: there may be a hundred thousand of it.
const FEW: usize = 32;
/// From one scan to the next, where there is more: new codes go on in between.
const BREATH: Duration = Duration::from_millis(25);
/// Calls for a later moment that are kept at most; what does not fit is left to the scan.
const CALLS: usize = 20_000;
/// Those that are called for and wait in line for a slot, at most: new jobs from the broker, which come one by one, are never
/// behind more.
const LINE: usize = 64;

/// Runs what is due on a worker, until shutdown.
pub async fn run(worker: Arc<Worker>, mut wakes: mpsc::Receiver<Call>, shutdown: CancellationToken) {
    // Side by side: whoever is called for does not wait until a scan is over.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = by_name(&worker, &mut wakes) => {}
        () = by_scan(&worker) => {}
    }
}

async fn by_scan(worker: &Arc<Worker>) {
    let mut tick = tokio::time::interval(SCAN);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        while scan(worker).await {
            // In line behind what was taken: there is room again.
            drop(worker.slots.acquire().await);
            tokio::time::sleep(BREATH).await;
        }
    }
}

async fn by_name(worker: &Arc<Worker>, wakes: &mut mpsc::Receiver<Call>) {
    let mut calls: DelayQueue<Uuid> = DelayQueue::new();
    let line = Arc::new(Semaphore::new(LINE));
    loop {
        let uid = tokio::select! {
            woken = wakes.recv() => match woken {
                Some(Call { uid, after: Duration::ZERO }) => uid,
                Some(Call { uid, after }) => {
                    if calls.len() < CALLS {
                        calls.insert(uid, after);
                    }
                    continue;
                }
                None => return,
            },
            uid = next(&mut calls) => uid,
        };
        // Who comes meanwhile waits behind the door, and what does not fit there is left to the scan.
        let Ok(place) = Arc::clone(&line).acquire_owned().await else { return };
        take(worker, uid, place);
    }
}

/// Waits until the moment of a call has come; for ever, where there is none.
async fn next(calls: &mut DelayQueue<Uuid>) -> Uuid {
    poll_fn(|cx| match calls.poll_expired(cx) {
        Poll::Ready(Some(call)) => Poll::Ready(call.into_inner()),
        _ => Poll::Pending,
    })
    .await
}

/// Takes one by name, when its turn has come. Whether it is due, the ledger says.
fn take(worker: &Arc<Worker>, uid: Uuid, place: OwnedSemaphorePermit) {
    let worker = Arc::clone(worker);
    worker.tasks.clone().spawn(async move {
        let Ok(_slot) = Arc::clone(&worker.slots).acquire_owned().await else {
            return;
        };
        drop(place);
        match worker.ledger().take(uid).await {
            Ok(Some(d)) => worker.run(d).await,
            Ok(None) => {}
            Err(e) => worker.ledger_health.begins(&e),
        }
    });
}

/// Takes what is due and has room. Whether there is more, for which there may be room soon.
async fn scan(worker: &Arc<Worker>) -> bool {
    if !worker.ledger_health.may_scan() {
        return false;
    }
    // What is taken here waits in line for its slot; a backlog of new jobs cannot shut it out.
    let most = if worker.finds_nobody() { FEW } else { MAX_TAKEN_PER_SCAN };
    let (fresh, begun) = (worker.room_for_fresh().min(most), worker.room_for_retries().min(most));
    let due = match worker.ledger().take_due(fresh, begun).await {
        Ok(due) => due,
        Err(e) => {
            worker.ledger_health.begins(&e);
            return false;
        }
    };
    let retries = due.iter().filter(|d| !d.attempts.is_empty()).count();
    let more = due.len() - retries >= fresh || (begun > 0 && retries >= begun);
    if due.len() > retries {
        worker.saw_fresh_work();
    }
    for d in due {
        worker.run_due(d);
    }
    more
}
