//! Delivers the batches of one sink: those that this process has committed, at once; all others when their lease has ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::sink::{Failure, Retry, Sink};
use crate::ledger::{EventBatch, Ledger, PendingEvents, Undelivered};
use crate::ops::crash::{self, Point};

/// A try ends this long before the lease, so that what is left is recorded in time.
const RECORD_TIME: Duration = Duration::from_secs(1);

pub(super) struct Delivery<S> {
    sink: S,
    ledger: Ledger,
    permits: Arc<Semaphore>,
}

impl<S: Sink> Delivery<S> {
    /// Whether the outbox stores the events of this sink.
    const IS_STORED: bool = S::SCAN_INTERVAL.is_some();

    pub(super) fn new(sink: S, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self { sink, ledger, permits: Arc::new(Semaphore::new(S::MAX_CONCURRENT)) })
    }

    /// Delivers until the sender of the batches is dropped, and then what it has sent before.
    pub(super) async fn run(self: Arc<Self>, mut committed: mpsc::Receiver<EventBatch>) {
        let mut tries = JoinSet::new();
        let mut tick = tokio::time::interval(S::SCAN_INTERVAL.unwrap_or(Duration::MAX / 2));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Whether the last scan has left due batches.
        let mut more = false;
        loop {
            tokio::select! {
                batch = committed.recv() => match batch {
                    Some(batch) => self.start(vec![batch], &mut tries).await,
                    None => break,
                },
                // A backlog is delivered without pauses, as long as deliveries succeed.
                Some(ended) = tries.join_next() => if more && matches!(ended, Ok(true)) {
                    more = self.scan(&mut tries).await;
                },
                _ = tick.tick() => more = self.scan(&mut tries).await,
                () = self.sink.woken() => more = self.scan(&mut tries).await,
            }
        }
        while tries.join_next().await.is_some() {}
    }

    /// Takes due batches and starts them. Returns whether more may be due.
    async fn scan(self: &Arc<Self>, tries: &mut JoinSet<bool>) -> bool {
        let room = self.permits.available_permits();
        if !Self::IS_STORED || room == 0 || !self.sink.is_open() {
            return room == 0;
        }
        // During an outage the worker logs the reason, and the next tick tries again.
        let due = self.ledger.take_events(&self.sink.receiver(), room).await.unwrap_or_default();
        let dispatches: usize = due.iter().map(|batch| batch.events.len()).sum();
        self.start(due, tries).await;
        dispatches >= room
    }

    /// Starts the delivery of batches as soon as there is room, in their order. A stored batch that has waited for half its lease is left
    /// to the scan.
    async fn start(self: &Arc<Self>, mut batches: Vec<EventBatch>, tries: &mut JoinSet<bool>) {
        let dispatches: usize = batches.iter().map(|batch| batch.events.len()).sum();
        let needed = u32::try_from(dispatches.min(S::MAX_CONCURRENT)).unwrap_or(u32::MAX);
        let Ok(permits) = Arc::clone(&self.permits).acquire_many_owned(needed).await else { return };
        let has_time = |batch: &EventBatch| Instant::now() + batch.receiver.lease() / 2 < batch.lease_end;
        batches.retain(|batch| !Self::IS_STORED || has_time(batch));
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
        let time_limit = batch.lease_end.checked_sub(RECORD_TIME).unwrap_or(batch.lease_end).into();
        let deliver = async |pending: &PendingEvents| {
            let result = tokio::time::timeout_at(time_limit, self.sink.deliver(pending)).await;
            let late = |_| {
                Err(Failure { delivered: 0, problem: "it was not confirmed in time".to_owned(), retry: None })
            };
            let result = result.unwrap_or_else(late);
            let own = result.as_ref().err().and_then(|failure| failure.retry);
            self.sink.record(pending, &result, retry.with_word(own));
            result
        };
        let results = join_all(batch.events.iter().map(deliver)).await;
        // The events of a batch share a row and its schedule, so the longest pause that the receiver asked for applies.
        let own = results.iter().filter_map(|result| result.as_ref().err()?.retry).max();
        let retry = retry.with_word(own);
        let (left, problem) = left_of(&batch, results);
        let left_count: u64 = left.iter().map(|pending| pending.events.len() as u64).sum();
        let is_any_delivered = left_count < batch.event_count();
        match problem {
            _ if !Self::IS_STORED => {}
            None => self.ledger.mark_delivered(&batch),
            Some(_) if !is_any_delivered && retry == Retry::AtLeaseEnd => {}
            Some(problem) => {
                let retry_after = match retry {
                    Retry::AtLeaseEnd => Some(batch.receiver.lease()),
                    Retry::After(pause) | Retry::Wait(pause) => Some(pause),
                    Retry::Never => None,
                };
                // When this write fails, the lease ends and the batch is delivered again, with the same ids.
                let counts = !matches!(retry, Retry::Wait(_));
                let left = Undelivered {
                    id: batch.id,
                    tries: batch.tries,
                    events: left,
                    problem,
                    retry_after,
                    counts,
                };
                let _ = self.ledger.record_undelivered(&left).await;
            }
        }
        crash::at(Point::BatchTried);
        is_any_delivered
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
