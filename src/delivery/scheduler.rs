//! The scheduler takes dispatches that are due: by uid on a wake-up, and by a scan once a second.
//!
//! A retry in the near future is scheduled by uid. The scan takes the oldest due rows first, and finds the rows whose wake-up was
//! lost. Without wake-ups, a retry would wait behind up to a hundred thousand dispatches whose carrier has no room.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use uuid::Uuid;

use crate::delivery::wake::WakeRequest;
use crate::delivery::worker::Worker;

/// Interval of the due scan.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of rows without an attempt that one scan takes. It takes at most as many others.
const MAX_TAKEN_PER_SCAN: usize = 128;
/// The same maximum while no carrier has room for due dispatches. There may be a hundred thousand of them.
const MAX_TAKEN_WITHOUT_ROOM: usize = 32;
/// Pause before the next scan if more rows are due. New codes are sent in between.
const SCAN_PAUSE: Duration = Duration::from_millis(25);
/// Maximum number of scheduled wake-ups. Further ones are left to the scan.
const MAX_SCHEDULED_WAKE_UPS: usize = 20_000;
/// Maximum number of woken dispatches that wait for a permit. New jobs from the broker, which arrive one by one, wait behind at
/// most this many.
const MAX_WAITING_WAKE_UPS: usize = 64;

/// Takes and processes due dispatches on a worker, until shutdown.
pub async fn run(worker: Arc<Worker>, mut wakes: mpsc::Receiver<WakeRequest>, shutdown: CancellationToken) {
    // Both loops run concurrently, so that a wake-up does not wait for a scan.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = run_wake_ups(&worker, &mut wakes) => {}
        () = run_scans(&worker) => {}
    }
}

async fn run_scans(worker: &Arc<Worker>) {
    let mut tick = tokio::time::interval(SCAN_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        while scan(worker).await {
            // The acquire waits behind the dispatches that were taken. When it returns, a permit is free again.
            drop(worker.permits.acquire().await);
            tokio::time::sleep(SCAN_PAUSE).await;
        }
    }
}

async fn run_wake_ups(worker: &Arc<Worker>, wakes: &mut mpsc::Receiver<WakeRequest>) {
    let mut scheduled: DelayQueue<Uuid> = DelayQueue::new();
    let waiting = Arc::new(Semaphore::new(MAX_WAITING_WAKE_UPS));
    loop {
        let uid = tokio::select! {
            woken = wakes.recv() => match woken {
                Some(WakeRequest { uid, after: Duration::ZERO }) => uid,
                Some(WakeRequest { uid, after }) => {
                    if scheduled.len() < MAX_SCHEDULED_WAKE_UPS {
                        scheduled.insert(uid, after);
                    }
                    continue;
                }
                None => return,
            },
            uid = next_wake_up(&mut scheduled) => uid,
        };
        // Further wake-ups wait in the channel. If it is full, they are left to the scan.
        let Ok(place_in_queue) = Arc::clone(&waiting).acquire_owned().await else { return };
        take(worker, uid, place_in_queue);
    }
}

/// Waits for the next scheduled wake-up; forever if there is none.
async fn next_wake_up(scheduled: &mut DelayQueue<Uuid>) -> Uuid {
    poll_fn(|cx| match scheduled.poll_expired(cx) {
        Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
        _ => Poll::Pending,
    })
    .await
}

/// Takes a dispatch by uid as soon as a permit is free. The ledger checks whether it is due.
fn take(worker: &Arc<Worker>, uid: Uuid, place_in_queue: OwnedSemaphorePermit) {
    let worker = Arc::clone(worker);
    worker.tasks.clone().spawn(async move {
        let Ok(_permit) = Arc::clone(&worker.permits).acquire_owned().await else {
            return;
        };
        drop(place_in_queue);
        worker.take_and_run(uid).await;
    });
}

/// Takes due dispatches for which there is room. Returns whether more may be due.
async fn scan(worker: &Arc<Worker>) -> bool {
    if !worker.ledger_health.may_scan() {
        return false;
    }
    // Taken dispatches queue for permits together with new jobs. Permits are given in order, so new jobs cannot overtake them.
    let most = if worker.finds_no_carrier() { MAX_TAKEN_WITHOUT_ROOM } else { MAX_TAKEN_PER_SCAN };
    let (fresh, begun) = (worker.room_for_fresh().min(most), worker.room_for_retries().min(most));
    let due = match worker.ledger().take_due(fresh, begun).await {
        Ok(due) => due,
        Err(e) => {
            worker.ledger_health.report_failure(&e);
            return false;
        }
    };
    let retries = due.iter().filter(|d| !d.attempts.is_empty()).count();
    let more = due.len() - retries >= fresh || (begun > 0 && retries >= begun);
    if due.len() > retries {
        worker.record_fresh_work();
    }
    for d in due {
        worker.run_due(d);
    }
    more
}
