//! F1, F2: a process is killed at every labelled step of the path, and another goes on where it was.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use otpost::ops::crash::Point;
use serde_json::json;

use crate::checker::{self, Injected};
use crate::excuse::Trouble;
use crate::load::{Kind, Load};
use crate::receiver::Receiver;
use crate::seed::Seed;
use crate::site::{ALL, Site, killed_itself};
use crate::support::relay::Relay;
use crate::support::wait;

/// Scenarios that run at once: each waits most of the time.
const AT_ONCE: usize = 7;
/// Of a short run.
const SOME: usize = 4;

/// One crash: a load, a death at this point, a successor.
async fn crash_at(point: Point) {
    let name = format!("crash_at_{point:?}");
    let mut site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let receiver = Receiver::start().await;
    receiver.heard.well.store(true, Ordering::Relaxed);
    site.more += &receiver.section();
    let relay = Relay::start(site.postgres()).await;
    site.instead.push((site.postgres().to_string(), relay.addr().to_string()));
    // What is killed is in the midst of work: the point is passed a few times before.
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
    let mut first = site.start_with("first", ALL, &[("OTPOST_CRASH_AT", &at)]);
    site.house.serving("first").await;
    let mut load = Load::new(&site, Seed::of(&name));
    let work = work(point, &site, &relay, &mut load);
    let revive = async {
        assert!(killed_itself(&mut first).await, "{point:?} was never passed");
        let from = otpost::domain::clock::now();
        relay.refuse(false);
        (from, site.start("second", ALL).await)
    };
    let ((), (from, _second)) = tokio::join!(work, revive);
    let trouble = Some(Trouble { from, to: otpost::domain::clock::now() });
    load.publish(5).await;
    checker::settle(&site, &load.sent, Duration::from_secs(100)).await;
    receiver.has_heard_all(&site).await;
    // What is set aside twice, because its first reader died before the ack, is there twice.
    let dead = 2 * u32::from(point == Point::DeadLetterConfirmed);
    let injected = Injected { unknown: 64, time: true, trouble, dead, ..Injected::default() };
    checker::check(&site, &load.sent, injected).await;
}

/// What brings a process to a point.
async fn work(point: Point, site: &Site, relay: &Relay, load: &mut Load<'_>) {
    match point {
        Point::DeadLetterConfirmed => load.say("dispatch", b"{\"nonsense\"").await,
        Point::ActWritten => {
            load.publish_one(Kind::Plain).await;
            // Nothing would be sent any more.
            let accepted = async || !site.house.record("accepted", None).await.is_empty();
            wait::until("accepted", accepted).await;
            let act = json!({"id": load.sent[0].id, "verified": true});
            load.say("feedback", act.to_string().as_bytes()).await;
        }
        Point::ReceiptQueued | Point::QueuedReceiptRecorded => {
            // Accepted; then the ledger is away when the carrier reports.
            for _ in 0..5 {
                load.publish_one(Kind::Plain).await;
            }
            wait::until("accepted", async || site.house.record("accepted", None).await.len() >= 5).await;
            relay.refuse(true);
            relay.cut();
            for message in site.house.record("accepted", None).await {
                site.house.receipt(message["sid"].as_str().unwrap(), "delivered").await;
            }
            if point == Point::QueuedReceiptRecorded {
                // One that the process has taken already, and holds until the ledger is back, no longer waits in the queue.
                let kept = async || (site.house.waiting("otpost.receipts").await > 0).then_some(());
                wait::within(Duration::from_secs(10), kept).await;
                relay.refuse(false);
            }
        }
        // A fifth of them comes over HTTP.
        Point::HttpAdmitted => load.publish_each_and(40).await,
        _ => load.publish_each_and(8).await,
    }
}

/// Where processes are killed.
fn points() -> Vec<Point> {
    // Suspects have a scenario of their own: what gets there has killed its reader before.
    Point::ALL.into_iter().filter(|p| *p != Point::QuarantineConfirmed).collect()
}

/// The seed says at which.
///
/// Seen to fail: as its long sibling, which has all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_at_some_steps() {
    let (mut points, mut seed) = (points(), Seed::of("which steps"));
    while points.len() > SOME {
        points.swap_remove(seed.below(points.len() as u64) as usize);
    }
    futures_util::future::join_all(points.into_iter().map(crash_at)).await;
}

mod long {
    use super::*;

    /// Seen to fail: with the ack of a job before its commit (jobs without a row), with an attempt that is committed after its
    /// request (O2: two texts without a repeat), with events that are taken off the row before they are confirmed (an end is not
    /// told), with a webhook's row that goes before its request (the receiver is never told).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_is_killed_at_every_step() {
        futures_util::stream::iter(points()).for_each_concurrent(AT_ONCE, crash_at).await;
    }
}
