//! Group commit: what arrives while a statement runs is the next group.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

/// Of 64, 128 and 256 it gives the best rate on two processors.
const MAX_GROUP: usize = 256;
/// A group of this size waits for no further items.
const LARGE_GROUP: usize = 32;
/// Items follow each other closely if a group begins this soon after the end of the last one.
const BUSY_GAP: Duration = Duration::from_millis(20);

/// Handle to a task that writes groups.
pub(super) struct Groups<I, O>(mpsc::UnboundedSender<(I, oneshot::Sender<O>)>);

impl<I: Send + 'static, O: Send + 'static> Groups<I, O> {
    /// Starts the task. Items with the same key are never in one group. While items follow each other closely, a small group waits for
    /// `gathering`. `write` returns one answer for each item.
    pub(super) fn start<K: Eq + Hash + Clone + Send + 'static>(
        gathering: Duration, key: impl Fn(&I) -> K + Send + 'static,
        write: impl AsyncFn(&[I]) -> anyhow::Result<Vec<O>>,
    ) -> (Self, impl Future<Output = anyhow::Result<()>>) {
        let (sender, mut items) = mpsc::unbounded_channel();
        let run = async move {
            let mut waiting: Vec<(I, oneshot::Sender<O>)> = vec![];
            let mut last_end: Option<Instant> = None;
            loop {
                if waiting.is_empty() {
                    let Some(first) = items.recv().await else { return Ok(()) };
                    waiting.push(first);
                }
                waiting.extend(std::iter::from_fn(|| items.try_recv().ok()));
                let is_busy = last_end.is_some_and(|end| end.elapsed() < BUSY_GAP);
                if is_busy && waiting.len() < LARGE_GROUP && !gathering.is_zero() {
                    tokio::time::sleep(gathering).await;
                    waiting.extend(std::iter::from_fn(|| items.try_recv().ok()));
                }
                let (mut group, mut answers, mut rest, mut keys) = (vec![], vec![], vec![], HashSet::new());
                for (item, answer) in waiting {
                    if group.len() < MAX_GROUP && keys.insert(key(&item)) {
                        group.push(item);
                        answers.push(answer);
                    } else {
                        rest.push((item, answer));
                    }
                }
                waiting = rest;
                for (answer, written) in answers.into_iter().zip(write(&group).await?) {
                    let _ = answer.send(written);
                }
                last_end = Some(Instant::now());
            }
        };
        (Self(sender), run)
    }

    pub(super) async fn write(&self, item: I) -> anyhow::Result<O> {
        let (answer, answered) = oneshot::channel();
        self.0.send((item, answer)).map_err(|_| anyhow::anyhow!("the writer has ended"))?;
        Ok(answered.await?)
    }
}
