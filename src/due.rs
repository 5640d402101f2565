//! What is due: taken by name when somebody wakes us, and by a scan once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::worker::Worker;

/// The due scan: what a lost wake-up costs at most.
const SCAN: Duration = Duration::from_secs(1);
/// Rows that one scan takes at most.
const MOST: usize = 128;

/// Runs what is due on a worker, until shutdown.
pub async fn run(worker: Arc<Worker>, mut wakes: mpsc::Receiver<Uuid>, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(SCAN);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            woken = wakes.recv() => match woken {
                Some(uid) => take(&worker, uid),
                None => return,
            },
            _ = tick.tick() => scan(&worker).await,
        }
    }
}

/// Takes one by name. Whether it is due, the ledger says.
fn take(worker: &Arc<Worker>, uid: Uuid) {
    let worker = Arc::clone(worker);
    worker.tasks.clone().spawn(async move {
        let Ok(_slot) = Arc::clone(&worker.slots).acquire_owned().await else {
            return;
        };
        match worker.ledger().take(uid).await {
            Ok(Some(d)) => worker.run(d).await,
            Ok(None) => {}
            Err(e) => worker.outage.begins(&e),
        }
    });
}

/// Takes what is due, as long as there is more and room for it.
async fn scan(worker: &Arc<Worker>) {
    while worker.outage.may_scan() {
        // What is taken here waits in line for its slot; a backlog of new jobs cannot shut it out.
        let (free, begun) = (worker.room_for_fresh().min(MOST), worker.room_for_retries().min(MOST));
        let due = match worker.ledger().take_due(free, begun).await {
            Ok(due) => due,
            Err(e) => return worker.outage.begins(&e),
        };
        let count = due.len();
        if due.iter().any(|d| d.attempts.is_empty()) {
            worker.saw_fresh_work();
        }
        for d in due {
            worker.run_due(d);
        }
        if count < free.max(begun) || worker.slots.available_permits() == 0 {
            return;
        }
    }
}
