//! Delivers the batches of one sink: those that this process has committed, at once; all others when their lease has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::sink::{Failure, Retry, Sink};
use crate::ledger::{EventBatch, Ledger, PendingEvents, Undelivered};
use crate::ops::crash::{self, Point};

/// How long a stop waits for deliveries that are under way. Others are repeated by another process.
const STOP_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Delivery<S> {
    sink: S,
    ledger: Ledger,
    permits: Arc<Semaphore>,
}

impl<S: Sink> Delivery<S> {
    pub(super) fn new(sink: S, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self { sink, ledger, permits: Arc::new(Semaphore::new(S::MAX_CONCURRENT)) })
    }

    /// Delivers until shutdown, or until the sender of the batches is dropped.
    pub(super) async fn run(
        self: Arc<Self>, mut committed: mpsc::Receiver<EventBatch>, shutdown: CancellationToken,
    ) {
        let mut tries = JoinSet::new();
        let mut tick = tokio::time::interval(S::SCAN_INTERVAL.unwrap_or(Duration::MAX / 2));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Whether the last scan has left due batches.
        let mut more = false;
        loop {
            tokio::select! {
                batch = committed.recv() => match batch {
                    Some(batch) => self.start(vec![batch], &mut tries, &shutdown).await,
                    None => break,
                },
                // A backlog is delivered without pauses, as long as deliveries succeed.
                Some(Ok(true)) = tries.join_next() => if more {
                    more = self.scan(&mut tries, &shutdown).await;
                },
                _ = tick.tick() => more = self.scan(&mut tries, &shutdown).await,
                () = self.sink.woken() => more = self.scan(&mut tries, &shutdown).await,
                () = shutdown.cancelled() => break,
            }
        }
        let _ = tokio::time::timeout(STOP_WAIT, async { while tries.join_next().await.is_some() {} }).await;
    }

    /// Takes due batches and starts them. Returns whether more may be due.
    async fn scan(self: &Arc<Self>, tries: &mut JoinSet<bool>, shutdown: &CancellationToken) -> bool {
        let room = self.permits.available_permits();
        if S::SCAN_INTERVAL.is_none() || room == 0 || !self.sink.is_open() {
            return room == 0;
        }
        // During an outage the worker logs the reason, and the next tick tries again.
        let due = self.ledger.take_events(&self.sink.receiver(), room).await.unwrap_or_default();
        let dispatches: usize = due.iter().map(|batch| batch.events.len()).sum();
        self.start(due, tries, shutdown).await;
        dispatches >= room
    }

    /// Starts the delivery of batches as soon as there is room, in their order. A batch that has waited for half its lease is left to the
    /// scan, because its lease could end during the delivery.
    async fn start(
        self: &Arc<Self>, mut batches: Vec<EventBatch>, tries: &mut JoinSet<bool>,
        shutdown: &CancellationToken,
    ) {
        let dispatches: usize = batches.iter().map(|batch| batch.events.len()).sum();
        let needed = dispatches.min(S::MAX_CONCURRENT);
        let permits = Arc::clone(&self.permits).acquire_many_owned(u32::try_from(needed).unwrap_or(u32::MAX));
        let permits = tokio::select! {
            Ok(permits) = permits => permits,
            () = shutdown.cancelled() => return,
        };
        batches.retain(|batch| Instant::now() + batch.receiver.lease() / 2 < batch.lease_end);
        let delivery = Arc::clone(self);
        tries.spawn(async move {
            let delivered = join_all(batches.into_iter().map(|batch| delivery.deliver(batch))).await;
            drop(permits);
            delivered.contains(&true)
        });
    }

    /// Delivers a batch, and records what is left of it. Returns whether anything was delivered.
    async fn deliver(&self, batch: EventBatch) -> bool {
        let retry = self.sink.retry(batch.tries);
        let deliver = async |pending: &PendingEvents| {
            let result = self.sink.deliver(pending).await;
            self.sink.record(pending, &result, retry);
            result
        };
        let results = join_all(batch.events.iter().map(deliver)).await;
        let events: usize = batch.events.iter().map(|pending| pending.events.len()).sum();
        let (left, problem) = left_of(&batch, results);
        let left_events: usize = left.iter().map(|pending| pending.events.len()).sum();
        match problem {
            _ if S::SCAN_INTERVAL.is_none() => {}
            None => self.ledger.mark_delivered(&batch),
            Some(_) if left_events == events && retry == Retry::AtLeaseEnd => {}
            Some(problem) => {
                let retry_after = match retry {
                    Retry::AtLeaseEnd => Some(batch.receiver.lease()),
                    Retry::After(pause) => Some(pause),
                    Retry::Never => None,
                };
                // When this write fails, the lease ends and the batch is delivered again, with the same ids.
                let left = Undelivered { id: batch.id, events: left, problem, retry_after };
                let _ = self.ledger.record_undelivered(&left).await;
            }
        }
        crash::at(Point::BatchTried);
        left_events < events
    }
}

/// The events of a batch that were not delivered, and why.
fn left_of(batch: &EventBatch, results: Vec<Result<(), Failure>>) -> (Vec<PendingEvents>, Option<String>) {
    let (mut left, mut problem) = (vec![], None);
    for (pending, result) in batch.events.iter().zip(results) {
        if let Err(failure) = result {
            let events = pending.events[failure.delivered.min(pending.events.len())..].to_vec();
            left.push(PendingEvents { events, ..pending.clone() });
            problem = Some(failure.problem);
        }
    }
    (left, problem)
}
