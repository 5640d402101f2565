//! Group commit. Items that gather while a statement runs form the next group, which is usually one transaction.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::LedgerError;
use super::items::{Admission, AttemptReceipt, BeginRequest, DecisionWrite};
use super::observer::Observed;

/// Capacity of the queue. Further callers wait until it has room.
const QUEUE_CAPACITY: usize = 4096;
/// Maximum size of a group. Larger groups hold their locks longer and are not faster.
const MAX_GROUP_SIZE: usize = 128;
/// A group of this size waits for no further items.
const LARGE_GROUP_SIZE: usize = 32;
/// Items follow each other closely if a group begins this soon after the end of the last one.
const BUSY_GAP: Duration = Duration::from_millis(20);
/// Maximum number of runs of a group that conflicts with other transactions.
const MAX_RUNS: u32 = 100;
/// How long a group is run again that conflicts with other transactions.
const CONFLICT_RETRY_WINDOW: Duration = Duration::from_secs(10);
/// A group that loses its connection this soon after its start is run again, with the same claims. Later its callers get the error.
const LOST_CONNECTION_RETRY_WINDOW: Duration = Duration::from_millis(1500);

type Running<O> = Pin<Box<dyn Future<Output = Result<Vec<O>, LedgerError>> + Send>>;

/// An item that is written in groups. Items of one group have different row keys, because items with the same key
/// may change the same row.
pub(super) trait Item: Send + Sync + 'static {
    fn row_key(&self, hasher: &RandomState) -> u64;
    /// A second row key, if the item has one.
    fn second_row_key(&self, _: &RandomState) -> Option<u64> {
        None
    }
}

impl Item for Admission {
    fn row_key(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((&self.order.tenant, self.order.id))
    }

    fn second_row_key(&self, hasher: &RandomState) -> Option<u64> {
        self.supersedes.as_ref().map(|(key, _)| hasher.hash_one(key))
    }
}

macro_rules! keyed_by_uid {
    ($($item:ty),+) => {$(
        impl Item for $item {
            fn row_key(&self, hasher: &RandomState) -> u64 {
                hasher.hash_one(self.uid)
            }
        }
    )+};
}
keyed_by_uid!(BeginRequest, DecisionWrite, AttemptReceipt);

impl Item for Uuid {
    fn row_key(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one(self)
    }
}

struct Pending<I, O> {
    item: Arc<I>,
    answer: oneshot::Sender<Result<O, LedgerError>>,
}

/// Handle for submitting items of one kind.
pub(super) struct Group<I, O> {
    sender: mpsc::Sender<Pending<I, O>>,
}

impl<I, O> Clone for Group<I, O> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<I: Item, O: Send + 'static> Group<I, O> {
    /// Starts the task that runs the groups. It ends when the last handle is dropped. While items follow each other closely, a small
    /// group waits for `gathering`, because few large groups cost less than many small ones.
    pub(super) fn start(
        act: &'static str, gathering: Duration, observed: Observed,
        run: impl Fn(Vec<Arc<I>>) -> Running<O> + Send + Sync + 'static,
    ) -> Self {
        let (sender, items) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(run_groups(act, gathering, observed, items, run));
        Self { sender }
    }

    /// Puts an item into the next group and waits for its answer.
    pub(super) async fn submit(&self, item: impl Into<Arc<I>>) -> Result<O, LedgerError> {
        let gone = || LedgerError::Unreachable("shutting down".to_owned());
        let (answer, answered) = oneshot::channel();
        self.sender.send(Pending { item: item.into(), answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run_groups<I: Item, O: Send + 'static>(
    act: &'static str, gathering: Duration, observed: Observed, mut items: mpsc::Receiver<Pending<I, O>>,
    run: impl Fn(Vec<Arc<I>>) -> Running<O> + Send + Sync + 'static,
) {
    let hasher = RandomState::new();
    let mut waiting: VecDeque<Pending<I, O>> = VecDeque::new();
    let mut last_end: Option<Instant> = None;
    loop {
        if waiting.is_empty() {
            let Some(first) = items.recv().await else { return };
            waiting.push_back(first);
        }
        take_more(&mut waiting, &mut items);
        let is_close = last_end.is_some_and(|end| end.elapsed() < BUSY_GAP);
        if is_close && waiting.len() < LARGE_GROUP_SIZE && !gathering.is_zero() {
            tokio::time::sleep(gathering).await;
            take_more(&mut waiting, &mut items);
        }
        let (mut group, mut rest, mut taken) = (vec![], VecDeque::new(), HashSet::new());
        for pending in waiting {
            let key = pending.item.row_key(&hasher);
            let second = pending.item.second_row_key(&hasher);
            let free = !taken.contains(&key) && second.is_none_or(|k| !taken.contains(&k));
            // A waiting item reserves its keys as well. Later items with the same key stay behind it.
            taken.insert(key);
            taken.extend(second);
            if free && group.len() < MAX_GROUP_SIZE { group.push(pending) } else { rest.push_back(pending) }
        }
        waiting = rest;
        run_group(act, &observed, group, &run).await;
        last_end = Some(Instant::now());
    }
}

/// Adds the items that wait in the queue.
fn take_more<I, O>(waiting: &mut VecDeque<Pending<I, O>>, items: &mut mpsc::Receiver<Pending<I, O>>) {
    while waiting.len() < 2 * MAX_GROUP_SIZE {
        let Ok(more) = items.try_recv() else { break };
        waiting.push_back(more);
    }
}

/// Runs a group. If one of its items may be the cause of an error, runs the halves, until that item is alone.
async fn run_group<I: Item, O>(
    act: &'static str, observed: &Observed, group: Vec<Pending<I, O>>,
    run: &(impl Fn(Vec<Arc<I>>) -> Running<O> + Send + Sync),
) {
    let mut parts = vec![group];
    while let Some(mut part) = parts.pop() {
        let items: Vec<Arc<I>> = part.iter().map(|p| Arc::clone(&p.item)).collect();
        observed.report(|to| to.grouped(act, items.len()));
        let whole = with_retries(act, observed, || run(items.clone()));
        // A panic in a store fails this group only. Without `catch_unwind` it would end the task, and every later group would
        // fail.
        let ended = AssertUnwindSafe(whole).catch_unwind().await;
        let ended = ended.unwrap_or_else(|_| {
            observed.report(|to| to.failed(act, &LedgerError::Panic(act)));
            Err(LedgerError::Panic(act))
        });
        match ended {
            Ok(answers) if answers.len() == part.len() => {
                for (pending, answer) in part.into_iter().zip(answers) {
                    // The caller may have stopped waiting. The write stays committed.
                    let _ = pending.answer.send(Ok(answer));
                }
            }
            Err(e) if e.is_of_one_item() && part.len() > 1 => {
                let second = part.split_off(part.len() / 2);
                parts.push(second);
                parts.push(part);
            }
            outcome => {
                let error =
                    outcome.err().unwrap_or(LedgerError::Unusable(format!("{act}: answers are missing")));
                for pending in part {
                    let _ = pending.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Runs a statement, again after a conflict, and for a short time again after a lost connection.
pub(super) async fn with_retries<O, F: Future<Output = Result<O, LedgerError>>>(
    act: &'static str, observed: &Observed, run: impl FnMut() -> F,
) -> Result<O, LedgerError> {
    let done = run_again(act, observed, run).await;
    if let Err(e) = &done {
        observed.report(|to| to.failed(act, e));
    }
    done
}

/// Runs a transaction once, and reports its time.
pub(super) async fn run_once<O>(
    act: &'static str, observed: &Observed, run: impl Future<Output = Result<O, LedgerError>>,
) -> Result<O, LedgerError> {
    let started = Instant::now();
    let done = run.await;
    observed.report(|to| to.ended(act, started.elapsed()));
    done
}

async fn run_again<O, F: Future<Output = Result<O, LedgerError>>>(
    act: &'static str, observed: &Observed, mut run: impl FnMut() -> F,
) -> Result<O, LedgerError> {
    let started = Instant::now();
    let mut runs = 0;
    loop {
        runs += 1;
        match run_once(act, observed, run()).await {
            Err(LedgerError::Conflict) if runs < MAX_RUNS && started.elapsed() < CONFLICT_RETRY_WINDOW => {
                // A random pause, so that two groups in conflict do not collide again.
                observed.report(|to| to.retried(act, &LedgerError::Conflict));
                let pause = u64::from(crate::seal::random::<1>()[0]) * u64::from(runs.min(10)) / 10;
                tokio::time::sleep(Duration::from_micros(200 + pause * 50)).await;
            }
            Err(LedgerError::Conflict) => {
                return Err(LedgerError::TooSlow("other transactions change the same rows all the time"));
            }
            Err(e @ (LedgerError::Unreachable(_) | LedgerError::NoConnection))
                if started.elapsed() < LOST_CONNECTION_RETRY_WINDOW =>
            {
                observed.report(|to| to.retried(act, &e));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::with_retries;
    use crate::ledger::LedgerError;
    use crate::ledger::observer::{Observed, Observer};

    /// Keeps what it is told, without the times.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Notes {
        fn add(&self, note: String) {
            self.0.lock().unwrap().push(note);
        }
    }

    impl Observer for Notes {
        fn grouped(&self, operation: &'static str, items: usize) {
            self.add(format!("{operation} groups {items}"));
        }

        fn ended(&self, operation: &'static str, _: Duration) {
            self.add(format!("{operation} ended"));
        }

        fn retried(&self, operation: &'static str, error: &LedgerError) {
            self.add(format!("{operation} runs again: {}", error.kind()));
        }

        fn failed(&self, operation: &'static str, error: &LedgerError) {
            self.add(format!("{operation} failed: {}", error.kind()));
        }
    }

    /// Fails if a transaction is not timed, or if an error that a later run has overcome counts as a failure.
    #[tokio::test]
    async fn each_run_is_reported_and_a_failure_once() {
        let (observed, notes) = (Observed::default(), Arc::<Notes>::default());
        observed.set(Arc::clone(&notes) as Arc<dyn Observer>);
        let mut answers = vec![Ok(()), Err(LedgerError::Conflict)];
        let overcome = with_retries("take", &observed, || std::future::ready(answers.pop().unwrap())).await;
        assert_eq!(overcome, Ok(()));
        let refused = || std::future::ready(Err::<(), _>(LedgerError::UnknownForm));
        assert!(with_retries("stop", &observed, refused).await.is_err());
        let expected = [
            "take ended",
            "take runs again: conflict",
            "take ended",
            "stop ended",
            "stop failed: unknown_form",
        ];
        assert_eq!(*notes.0.lock().unwrap(), expected);
    }
}
