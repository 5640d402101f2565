//! F17, trace 11: a worker that is frozen when the ledger has its begin, and the carrier has heard nothing yet.

use std::time::Duration;

use crate::checker::{self, Injected};
use crate::load::{BROKER, Kind, Load};
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::wait;

/// Longer than may pass between begin and request, shorter than an attempt's deadline.
const FROZEN: Duration = Duration::from_secs(5);

/// A request that comes so late is not sent: the attempt says so, and another is begun.
///
/// Seen to fail: without the three seconds between begin and request (O3: it comes 5 s after its begin).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_frozen_between_its_begin_and_its_request() {
    let name = "a_worker_is_frozen_between_its_begin_and_its_request";
    let site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let worker = site.start_with("w", ALL, &[("OTPOST_FREEZE_AT", "AttemptBegun:2")]);
    site.house.serving("w").await;
    let mut load = Load::new(&site, Seed::of(name));
    load.doors = BROKER;
    // One after the other: no other request is under way when it happens.
    load.publish_one(Kind::Plain).await;
    site.house.until_state(load.sent[0].id, "delivered").await;
    load.publish_one(Kind::Plain).await;
    wait::until("it is frozen", async || is_frozen(worker.0.id())).await;
    tokio::time::sleep(FROZEN).await;
    worker.signal("CONT");
    let thawed = site.house.until_state(load.sent[1].id, "delivered").await;
    checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
    checker::check(&site, &load.sent, Injected { prompt: true, ..Injected::default() }).await;
    assert_eq!(thawed.attempts.len(), 2, "the first was not sent: {thawed:#?}");
}

/// Stopped by a signal: the state `T` after the name in parentheses.
fn is_frozen(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
