//! Race tests on both databases. Every action must happen and count exactly once. A deadlock or a time-out of the database
//! fails the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

#[path = "../support/mod.rs"]
mod support;

mod claims;
mod entries;
mod neighbours;
mod numbers;
mod own_app;
mod sends;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use support::world::World;

/// Number of concurrent actions.
const CONCURRENT_ACTIONS: usize = 50;

/// Runs this many actions at once. Each starts when all are ready. A panic in one of them fails the test.
async fn concurrently<T, F>(world: &World, count: usize, mut act: impl FnMut(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    world.connect_all().await;
    let ready = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for n in 0..count {
        let (ready, act) = (Arc::clone(&ready), act(n));
        tasks.spawn(async move {
            ready.wait().await;
            act.await
        });
    }
    tasks.join_all().await
}
