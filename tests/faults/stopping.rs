//! F19: processes get SIGTERM while they have work, while a client streams events, and while a server is
//! unreachable.

use std::time::Duration;

use tokio::time::Instant;

use crate::checker::{self, Injected, one_fault};
use crate::cluster::{ALL, Cluster, WORKER};
use crate::excuse::FaultPeriod;
use crate::load::Load;
use crate::seed::Seed;
use crate::support::deployment::process::Process;
use crate::support::deployment::stopped_server::StoppedServer;
use crate::support::wait;
use crate::under_load::{JOBS, blocking, in_flight, under_load};

/// The grace period of a stopping process is 20 s. The rest allows for a slow machine.
const GRACE_TIME_LIMIT: Duration = Duration::from_secs(26);

/// Without an outage it waits only for the answers to its requests, which time out after three seconds.
const STOP_TIME_LIMIT: Duration = Duration::from_secs(5);

/// Asserts that the process exits cleanly within its grace period.
pub(crate) async fn stop(process: &mut Process) -> Duration {
    let began = Instant::now();
    process.signal("TERM");
    let ended = async || process.0.try_wait().unwrap();
    let status = wait::within(Duration::from_secs(30), ended).await.expect("it ends");
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < GRACE_TIME_LIMIT, "{:?}", began.elapsed());
    began.elapsed()
}

/// Stops a process that has work and an event subscriber. `outage` names a server that stops first, and how.
async fn stopped_without(outage: Option<(&'static str, &'static str)>) {
    let name = format!("stopped_without_{}", outage.map_or("anything", |(server, _)| server));
    let cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let mut all = cluster.start("all", ALL).await;
    let events = format!("http://{}/v1/events", cluster.api);
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(events);
    let mut stream = request.bearer_auth(&cluster.deployment.key).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let mut load = Load::new(&cluster, Seed::of(&name));
    load.publish_each_and(JOBS).await;
    assert!(!stream.chunk().await.unwrap().unwrap().is_empty(), "the stream has events");
    load.burst(JOBS).await;
    let fault_period = FaultPeriod::during(async {
        let away = blocking(move || outage.map(|(server, how)| StoppedServer::stop(server, how))).await;
        let duration = stop(&mut all).await;
        println!("{name}: {duration:?}");
        assert!(
            outage.is_some() || duration < STOP_TIME_LIMIT,
            "without an outage the stop takes {duration:?}"
        );
        blocking(move || drop(away)).await;
    });
    let fault_period = Some(fault_period.await);
    let mut end = async || while let Ok(Some(_)) = stream.chunk().await {};
    tokio::time::timeout(Duration::from_secs(5), end()).await.expect("its event streams end");
    let _again = cluster.start("again", ALL).await;
    checker::settle(&cluster, &load.sent, Duration::from_secs(110)).await;
    checker::check(&cluster, &load.sent, Injected { fault_period, ..in_flight(64) }).await;
}

mod long {
    use super::*;

    /// A worker that gets SIGTERM finishes its work, and another one continues.
    ///
    /// Fails if a stopping worker does not wait for open work (O2: repeats without an unknown outcome).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_are_stopped_under_load() {
        under_load("workers_are_stopped_under_load", in_flight(0), async |cluster, _, workers| {
            for (n, name) in ["c", "d"].into_iter().enumerate() {
                stop(&mut workers[n]).await;
                one_fault();
                workers[n] = cluster.start(name, WORKER).await;
            }
        })
        .await;
    }

    /// The process exits cleanly with an open event stream, and the next process continues its work.
    ///
    /// Fails if an event stream does not end with its process (the stop takes 6 s).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_with_an_event_stream_is_stopped() {
        stopped_without(None).await;
    }

    /// The next process finds outcomes that could not be written.
    ///
    /// Fails if a process waits for open work without a limit.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_stopped_during_a_ledger_outage() {
        stopped_without(Some(("postgres", "immediate"))).await;
    }

    /// The next process publishes events that could not be published.
    ///
    /// Fails if an event counts as published without the broker's confirm (final states are never published).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_stopped_during_a_broker_outage() {
        stopped_without(Some(("rabbitmq", "clean"))).await;
    }
}
