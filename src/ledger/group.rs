//! Groups: what has gathered while the last statement ran goes into the next one, as one transaction.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::LedgerError;
use super::items::{Admission, Beginning, DecisionWrite, PublishedEvents, Recording};

/// Items that wait for a group. More submitters than this wait in line.
const QUEUE: usize = 4096;
/// The largest group. Larger ones hold their locks longer and gain nothing.
const MAX_GROUP_SIZE: usize = 128;
/// A group that met others' rows runs again at once, this often.
const RUNS: u32 = 100;
/// A group whose connection was lost runs again for this long, with the same claims, before its callers hear of it.
const COMMIT_RETRY_WINDOW: Duration = Duration::from_millis(1500);

type Running<O> = Pin<Box<dyn Future<Output = Result<Vec<O>, LedgerError>> + Send>>;

/// Something that is written in groups. No two items of one group share a name.
pub(super) trait Item: Send + Sync + 'static {
    fn name(&self, names: &RandomState) -> u64;
    /// A second name, where there is one.
    fn other_name(&self, _: &RandomState) -> Option<u64> {
        None
    }
}

impl Item for Admission {
    fn name(&self, names: &RandomState) -> u64 {
        names.hash_one((&self.order.tenant, self.order.id))
    }

    fn other_name(&self, names: &RandomState) -> Option<u64> {
        self.supersedes.as_ref().map(|(key, _)| names.hash_one(key))
    }
}

macro_rules! named_by_uid {
    ($($item:ty),+) => {$(
        impl Item for $item {
            fn name(&self, names: &RandomState) -> u64 {
                names.hash_one(self.uid)
            }
        }
    )+};
}
named_by_uid!(Beginning, DecisionWrite, Recording, PublishedEvents);

struct Pending<I, O> {
    item: Arc<I>,
    answer: oneshot::Sender<Result<O, LedgerError>>,
}

/// A door to one kind of statement.
pub(super) struct Group<I, O> {
    door: mpsc::Sender<Pending<I, O>>,
}

impl<I, O> Clone for Group<I, O> {
    fn clone(&self) -> Self {
        Self { door: self.door.clone() }
    }
}

impl<I: Item, O: Send + 'static> Group<I, O> {
    /// Starts the task that runs the groups; it ends when the last door is gone.
    pub(super) fn start(
        act: &'static str, run: impl Fn(Vec<Arc<I>>) -> Running<O> + Send + Sync + 'static,
    ) -> Self {
        let (door, items) = mpsc::channel(QUEUE);
        tokio::spawn(drive(act, items, run));
        Self { door }
    }

    /// Puts an item into the next group, and waits for its answer.
    pub(super) async fn submit(&self, item: I) -> Result<O, LedgerError> {
        let gone = || LedgerError::Away("shutting down".to_owned());
        let (answer, answered) = oneshot::channel();
        self.door.send(Pending { item: Arc::new(item), answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn drive<I: Item, O: Send + 'static>(
    act: &'static str, mut items: mpsc::Receiver<Pending<I, O>>,
    run: impl Fn(Vec<Arc<I>>) -> Running<O> + Send + Sync + 'static,
) {
    let names = RandomState::new();
    let mut waiting: VecDeque<Pending<I, O>> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Some(first) = items.recv().await else { return };
            waiting.push_back(first);
        }
        while waiting.len() < 2 * MAX_GROUP_SIZE {
            let Ok(more) = items.try_recv() else { break };
            waiting.push_back(more);
        }
        let (mut group, mut rest, mut taken) = (vec![], VecDeque::new(), HashSet::new());
        for pending in waiting {
            let name = pending.item.name(&names);
            let other = pending.item.other_name(&names);
            let free = !taken.contains(&name) && other.is_none_or(|n| !taken.contains(&n));
            // Taken even when the item must wait: whoever comes later for the same name stays behind it.
            taken.insert(name);
            taken.extend(other);
            if free && group.len() < MAX_GROUP_SIZE { group.push(pending) } else { rest.push_back(pending) }
        }
        waiting = rest;
        settle(act, group, &run).await;
    }
}

/// Runs a group; when its data are refused, its halves, until the bad item is alone.
async fn settle<I: Item, O>(
    act: &'static str, group: Vec<Pending<I, O>>, run: &(impl Fn(Vec<Arc<I>>) -> Running<O> + Send + Sync),
) {
    let mut parts = vec![group];
    while let Some(mut part) = parts.pop() {
        let items: Vec<Arc<I>> = part.iter().map(|p| Arc::clone(&p.item)).collect();
        let whole = run_again(|| run(items.clone()));
        // A defect in a store's function costs this group its answers, not all later groups their door.
        let ended = AssertUnwindSafe(whole).catch_unwind().await;
        match ended.unwrap_or_else(|_| Err(LedgerError::Away(format!("{act} failed by a defect")))) {
            Ok(answers) if answers.len() == part.len() => {
                for (pending, answer) in part.into_iter().zip(answers) {
                    // Nobody waits any more: what was written stays written.
                    let _ = pending.answer.send(Ok(answer));
                }
            }
            Err(LedgerError::Data { .. }) if part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
            outcome => {
                let error =
                    outcome.err().unwrap_or(LedgerError::Unfit(format!("{act}: answers are missing")));
                for pending in part {
                    let _ = pending.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Runs a statement again while others are in the way, and for a short while when its connection was lost.
pub(super) async fn run_again<O, F: Future<Output = Result<O, LedgerError>>>(
    run: impl Fn() -> F,
) -> Result<O, LedgerError> {
    let started = Instant::now();
    let mut runs = 0;
    loop {
        runs += 1;
        match run().await {
            Err(LedgerError::Again) if runs < RUNS => {
                // Two groups that met each other part: each waits a little, not the same little.
                let pause = u64::from(crate::seal::random::<1>()[0]) * u64::from(runs.min(10)) / 10;
                tokio::time::sleep(Duration::from_micros(200 + pause * 50)).await;
            }
            Err(LedgerError::Again) => return Err(LedgerError::Away("too many collisions".to_owned())),
            Err(LedgerError::Away(_)) if started.elapsed() < COMMIT_RETRY_WINDOW => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}
