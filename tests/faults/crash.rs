//! F1, F2: a process is killed at each crash point, and another one continues.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use otpost::ops::crash::Point;
use serde_json::json;

use crate::checker::{self, Injected};
use crate::cluster::{ALL, Cluster, killed_itself};
use crate::excuse::FaultPeriod;
use crate::load::{Kind, Load};
use crate::receiver::Receiver;
use crate::seed::Seed;
use crate::support::relay::Relay;
use crate::support::wait;

/// Number of parallel scenarios. Each waits most of the time.
const PARALLEL_SCENARIOS: usize = 7;
/// Number of points in a short run.
const POINTS_IN_SHORT_RUN: usize = 4;

/// One crash: load, kill at this point, restart.
async fn crash_at(point: Point) {
    let name = format!("crash_at_{point:?}");
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let receiver = Receiver::start().await;
    receiver.log.answering.store(true, Ordering::Relaxed);
    cluster.extra_config += &receiver.section();
    let relay = Relay::start(cluster.postgres()).await;
    cluster.replacements.push((cluster.postgres().to_string(), relay.addr().to_string()));
    // The process is killed under load, after it has passed the point a few times.
    let nth = match point {
        Point::HttpAdmitted
        | Point::ReceiptQueued
        | Point::QueuedReceiptRecorded
        | Point::DeadLetterConfirmed
        | Point::ActWritten => 1,
        Point::DueToBegin => 2,
        _ => 1 + Seed::of(&format!("how often it passes {point:?}")).below(3),
    };
    let at = format!("{point:?}:{nth}");
    let mut first = cluster.start_with("first", ALL, &[("OTPOST_CRASH_AT", &at)]);
    cluster.deployment.serving("first").await;
    let mut load = Load::new(&cluster, Seed::of(&name));
    let work = work(point, &cluster, &relay, &mut load);
    let revive = async {
        assert!(killed_itself(&mut first).await, "{point:?} was never passed");
        let from = otpost::domain::clock::now();
        relay.refuse(false);
        (from, cluster.start("second", ALL).await)
    };
    let ((), (from, _second)) = tokio::join!(work, revive);
    let fault_period = Some(FaultPeriod { from, to: otpost::domain::clock::now() });
    load.publish(5).await;
    checker::settle(&cluster, &load.sent, Duration::from_secs(100)).await;
    receiver.has_received_all(&cluster).await;
    // The message was dead-lettered twice, because its first reader died before the ack.
    let dead = 2 * u32::from(point == Point::DeadLetterConfirmed);
    let injected = Injected { unknown: 64, time: true, fault_period, dead, ..Injected::default() };
    checker::check(&cluster, &load.sent, injected).await;
}

/// Produces the load that reaches a crash point.
async fn work(point: Point, cluster: &Cluster, relay: &Relay, load: &mut Load<'_>) {
    match point {
        Point::DeadLetterConfirmed => load.publish_raw("dispatch", b"{\"nonsense\"").await,
        Point::ActWritten => {
            load.publish_one(Kind::Plain).await;
            // Otherwise no further request would be sent.
            let accepted = async || !cluster.deployment.record("accepted", None).await.is_empty();
            wait::until("accepted", accepted).await;
            let act = json!({"id": load.sent[0].id, "verified": true});
            load.publish_raw("feedback", act.to_string().as_bytes()).await;
        }
        Point::ReceiptQueued | Point::QueuedReceiptRecorded => {
            // The messages are accepted, and the ledger is unreachable when the carrier reports.
            for _ in 0..5 {
                load.publish_one(Kind::Plain).await;
            }
            wait::until("accepted", async || cluster.deployment.record("accepted", None).await.len() >= 5)
                .await;
            relay.refuse(true);
            relay.cut();
            for message in cluster.deployment.record("accepted", None).await {
                cluster.deployment.receipt(message["sid"].as_str().unwrap(), "delivered").await;
            }
            if point == Point::QueuedReceiptRecorded {
                // A receipt that the process holds until the end of the outage is not in the queue any more.
                let kept = async || (cluster.deployment.waiting("otpost.receipts").await > 0).then_some(());
                wait::within(Duration::from_secs(10), kept).await;
                relay.refuse(false);
            }
        }
        // A fifth of the jobs arrives over HTTP.
        Point::HttpAdmitted => load.publish_each_and(40).await,
        _ => load.publish_each_and(8).await,
    }
}

/// The crash points.
fn points() -> Vec<Point> {
    // Quarantined messages are tested in `poison`, because they have killed their reader before.
    Point::ALL.into_iter().filter(|p| *p != Point::QuarantineConfirmed).collect()
}

/// The seed selects the points.
///
/// Fails like `a_process_is_killed_at_every_step`, which has all points.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_at_some_steps() {
    let (mut points, mut seed) = (points(), Seed::of("which steps"));
    while points.len() > POINTS_IN_SHORT_RUN {
        points.swap_remove(seed.below(points.len() as u64) as usize);
    }
    futures_util::future::join_all(points.into_iter().map(crash_at)).await;
}

mod long {
    use super::*;

    /// Fails if a job is acknowledged before its commit (jobs without a row), if an attempt is committed
    /// after its request (O2: two texts without a repeat), if events are removed from the row before they are
    /// confirmed (a final state without an event), or if a webhook's row is deleted before its request (the
    /// receiver gets nothing).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_killed_at_every_step() {
        futures_util::stream::iter(points()).for_each_concurrent(PARALLEL_SCENARIOS, crash_at).await;
    }
}
