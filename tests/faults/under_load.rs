//! A whole cluster under load during a fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::checker::{self, Injected, Report};
use crate::cluster::{Cluster, FRONT_END, WORKER};
use crate::excuse::FaultPeriod;
use crate::fault_guards::set_read_only;
use crate::load::{BROKER, HTTP, Load};
use crate::resources::ProcessResources;
use crate::seed::Seed;
use crate::support::deployment::process::Process;
use crate::support::relay::{Counts, Relay};
use crate::support::wait;
use crate::support::world::{connect, database_url};

/// Number of jobs before the fault, and of the burst during which it begins.
pub(crate) const JOBS: usize = 40;
/// Pauses between two jobs during the fault, in general and over HTTP.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(200);
const HTTP_PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
pub(crate) const WORKERS: [&str; 2] = ["a", "b"];

/// Relays in front of the servers that otpost uses.
pub(crate) struct Relays {
    pub(crate) ledger: Relay,
    pub(crate) broker: Relay,
    pub(crate) carrier: Relay,
}

/// Runs a whole cluster under load. `breaks` starts a fault and ends it, while jobs keep arriving over each
/// ingress.
pub(crate) async fn under_load(
    name: &str, injected: Injected, breaks: impl AsyncFnOnce(&Cluster, &Relays, &mut [Process; 2]),
) -> Report {
    // Restores the servers after an aborted run.
    set_read_only(&database_url(), "off").await;
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let [ledger, broker, carrier] =
        [cluster.postgres(), cluster.deployment.broker(), cluster.deployment.gateway.addr()];
    let relays = Relays {
        ledger: Relay::start(ledger).await,
        broker: Relay::start(broker).await,
        carrier: Relay::start(carrier).await,
    };
    for (at, relay) in [(ledger, &relays.ledger), (broker, &relays.broker), (carrier, &relays.carrier)] {
        cluster.replacements.push((at.to_string(), relay.addr().to_string()));
    }
    let front_end = cluster.start("front-end", FRONT_END).await;
    let mut workers = [cluster.start(WORKERS[0], WORKER).await, cluster.start(WORKERS[1], WORKER).await];
    let mut load = Load::new(&cluster, Seed::of(name));
    load.publish_each_and(JOBS).await;
    let before = [&front_end, &workers[0], &workers[1]].map(ProcessResources::now);
    let mut web = Load::new(&cluster, Seed::of(&format!("{name} over HTTP")));
    (load.ingresses, web.ingresses, web.prefix) = (BROKER, HTTP, "+4478");
    let over = AtomicBool::new(false);
    let breaking = async {
        let fault_period = FaultPeriod::during(breaks(&cluster, &relays, &mut workers)).await;
        over.store(true, Ordering::Relaxed);
        fault_period
    };
    let publishing = async {
        load.publish(JOBS).await;
        until_over(&mut load, PUBLISH_INTERVAL, &over).await;
    };
    let ((), (), fault_period) =
        tokio::join!(publishing, until_over(&mut web, HTTP_PUBLISH_INTERVAL, &over), breaking);
    load.publish(JOBS / 4).await;
    let sent = [load.sent, web.sent, cluster.by_hand.lock().unwrap().clone()].concat();
    checker::settle(&cluster, &sent, Duration::from_secs(110)).await;
    let fault_period = Some(fault_period);
    let report = checker::check(&cluster, &sent, Injected { fault_period, ..injected }).await;
    let [a, b] = &workers;
    for (held, process) in before.into_iter().zip([&front_end, a, b]) {
        // Starts new processes for those that the scenario has ended.
        if held.is_of(process) {
            held.return_to_baseline().await;
        }
    }
    report
}

/// Publishes at this pace until the fault is over.
async fn until_over(load: &mut Load<'_>, pace: Duration, over: &AtomicBool) {
    let mut pace = tokio::time::interval(pace);
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        load.publish(1).await;
    }
}

/// Runs a server's command, which takes seconds, without blocking the other tasks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Waits until otpost has reconnected, or kept its connection.
pub(crate) async fn wait_for_reconnect(relay: &Relay, before: Counts) {
    let anew = async || (relay.counts().connections > before.connections).then_some(());
    wait::within(Duration::from_secs(10), anew).await;
}

/// Waits until each worker has logged this line. An earlier fault of the scenario may have caused it too.
pub(crate) async fn wait_for_workers_log(cluster: &Cluster, line: &str) {
    for name in WORKERS {
        wait::until(line, async || cluster.deployment.log(name).contains(line)).await;
    }
}

/// Returns a fault during which at most this many requests were open.
pub(crate) fn in_flight(unknown: usize) -> Injected {
    Injected { unknown, time: true, ..Injected::default() }
}

/// Waits until this many further dispatches are final.
pub(crate) async fn wait_for_final(cluster: &Cluster, ends: i64) {
    let look = connect(&cluster.deployment.ledger_url).await;
    let ended = async || {
        let sql = "select count(*) from dispatch where state not in ('queued', 'sending', 'sent')";
        look.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    let all = ended().await + ends;
    wait::until("codes go on", async || ended().await >= all).await;
}

/// Waits until this time, such as the expiry of codes that could not be sent.
pub(crate) async fn wait_until_past(at: Timestamp) {
    let past = async || (otpost::domain::clock::now() > at).then_some(());
    wait::within(Duration::from_secs(120), past).await.expect("the time is near");
}
