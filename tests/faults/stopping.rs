//! F19: processes are told to stop while they have work, while somebody listens, and while a server is away.

use std::time::Duration;

use tokio::time::Instant;

use crate::checker::{self, Injected, one_fault};
use crate::excuse::Trouble;
use crate::load::Load;
use crate::seed::Seed;
use crate::site::{ALL, Site, WORKER};
use crate::support::house::away::Away;
use crate::support::house::process::Process;
use crate::support::wait;
use crate::under_load::{JOBS, blocking, in_flight, under_load};

/// The grace of a process that stops is 20 s; a process that takes all of it, and the machine's slowness.
const GRACE: Duration = Duration::from_secs(26);

/// With nothing in its way it waits for the answers to its requests: three seconds each.
const AT_ONCE: Duration = Duration::from_secs(5);

/// It ends in order, within its grace.
pub(crate) async fn stop(process: &mut Process) -> Duration {
    let began = Instant::now();
    process.signal("TERM");
    let ended = async || process.0.try_wait().unwrap();
    let status = wait::within(Duration::from_secs(30), ended).await.expect("it ends");
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < GRACE, "{:?}", began.elapsed());
    began.elapsed()
}

/// A process with work and a listener is told to stop; a server that it needs may have gone away before, and how.
async fn stopped_without(gone: Option<(&'static str, &'static str)>) {
    let name = format!("stopped_without_{}", gone.map_or("anything", |(server, _)| server));
    let site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let mut all = site.start("all", ALL).await;
    let events = format!("http://{}/v1/events", site.api);
    let asking = reqwest::Client::builder().no_proxy().build().unwrap().get(events);
    let mut heard = asking.bearer_auth(&site.house.key).send().await.unwrap();
    assert_eq!(heard.status(), 200);
    let mut load = Load::new(&site, Seed::of(&name));
    load.publish_each_and(JOBS).await;
    assert!(!heard.chunk().await.unwrap().unwrap().is_empty(), "events are heard");
    load.burst(JOBS).await;
    let trouble = Trouble::during(async {
        let away = blocking(move || gone.map(|(server, how)| Away::stop(server, how))).await;
        let took = stop(&mut all).await;
        println!("{name}: {took:?}");
        assert!(gone.is_some() || took < AT_ONCE, "nothing is in its way, and it takes {took:?}");
        blocking(move || drop(away)).await;
    });
    let trouble = Some(trouble.await);
    let mut end = async || while let Ok(Some(_)) = heard.chunk().await {};
    tokio::time::timeout(Duration::from_secs(5), end()).await.expect("its listeners are told the end");
    let _again = site.start("again", ALL).await;
    checker::settle(&site, &load.sent, Duration::from_secs(110)).await;
    checker::check(&site, &load.sent, Injected { trouble, ..in_flight(64) }).await;
}

mod long {
    use super::*;

    /// Who is told to stop finishes what it holds, and another goes on.
    ///
    /// Seen to fail: where nothing under way is waited for (O2: repeats, and nothing was unknown).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_are_stopped_under_load() {
        under_load("workers_are_stopped_under_load", in_flight(0), async |site, _, workers| {
            for (n, name) in ["c", "d"].into_iter().enumerate() {
                stop(&mut workers[n]).await;
                one_fault();
                workers[n] = site.start(name, WORKER).await;
            }
        })
        .await;
    }

    /// It ends in order although somebody listens to its events, and what it holds goes on at whoever starts next.
    ///
    /// Seen to fail: where a stream of events is not ended with its process (it takes 6 s).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_stopped_while_somebody_listens() {
        stopped_without(None).await;
    }

    /// What could not be written is found by whoever starts next.
    ///
    /// Seen to fail: where a process waits without end for what is under way.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_stopped_while_the_ledger_is_away() {
        stopped_without(Some(("postgres", "immediate"))).await;
    }

    /// What could not be told is told by whoever starts next.
    ///
    /// Seen to fail: where an event that the broker did not confirm counts as told (ends were told to nobody).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_stopped_while_the_broker_is_away() {
        stopped_without(Some(("rabbitmq", "clean"))).await;
    }
}
