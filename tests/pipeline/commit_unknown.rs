//! Trace 18, row 5: nobody knows whether an attempt was committed, for longer than the group runs again by itself. Its claim
//! finds out, and what was not sent is not called unknown.

use std::time::Duration;

use otpost::app::App;
use otpost::domain::clock::{between, now};
use otpost::domain::dispatch::Dispatch;
use serde_json::json;
use uuid::Uuid;

use crate::support::house::{FRONT_END, House, WORKER, in_seconds, job};
use crate::support::relay::{Direction, Relay};

/// Of a code's life: nothing begins with less than ten seconds of it.
const TOO_LITTLE: Duration = Duration::from_secs(9);

/// A worker that has a relay between it and its ledger, and doors that have not.
async fn parts(house: &House) -> (App, App, Relay) {
    let relay = Relay::start(house.database().await).await;
    let front_end = house.start(house.config(&["c1"]), FRONT_END).await;
    let mut config = house.config_behind(&front_end);
    config.ledger.url = Some(house.ledger_by(&relay).into());
    // No deadline passes meanwhile.
    config.carriers.get_mut("c1").unwrap().time_out_s = 10;
    let worker = house.start(config, WORKER).await;
    house.until_consumed().await;
    (front_end, worker, relay)
}

/// The server commits, nobody hears of it, and nobody comes through until this holds.
async fn is_away(house: &House, relay: &Relay, id: Uuid, until: impl Fn(&Dispatch) -> bool) {
    relay.sprung().await;
    relay.refuse(true);
    house.until(id, "old enough", until).await;
    relay.refuse(false);
}

/// Since its first attempt began.
fn age(d: &Dispatch) -> Duration {
    between(d.attempts.first().map_or(now(), |a| a.begun_at), now())
}

fn outcomes(d: &Dispatch) -> Vec<&'static str> {
    d.attempts.iter().map(|a| a.outcome.map_or("open", |o| o.word())).collect()
}

/// Seen to fail: where a begin that nobody heard of is not tried again (its attempt ends as unknown).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_came_through_unheard_is_sent_in_time_or_not_at_all() {
    let house = House::build(Duration::from_millis(20)).await;
    let (front_end, worker, relay) = parts(&house).await;
    for (to, away, expected) in [
        ("+447701000181", Duration::from_millis(1900), vec!["accepted"]),
        ("+447701000182", Duration::from_millis(4500), vec!["not_sent", "accepted"]),
    ] {
        relay.cut_when(Direction::ToUpstream, b"deadline_ms", false);
        let j = job(to, json!({}));
        assert_eq!(house.post(&front_end, &j).await.0, 202);
        let id = j["id"].as_str().unwrap().parse().unwrap();
        is_away(&house, &relay, id, |d| age(d) > away).await;
        let d = house.until_state(id, "delivered").await;
        assert_eq!((outcomes(&d), house.accepted(to).await), (expected, 1), "away for {away:?}");
    }
    worker.stop().await;
    front_end.stop().await;
}

/// The job was admitted with its first begin, and the row cannot be read when that is found out.
///
/// Seen to fail: where the row is read once only (its attempt ends as unknown).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_came_through_unheard_is_not_left_unknown() {
    let house = House::build(Duration::from_millis(20)).await;
    let (front_end, worker, relay) = parts(&house).await;
    let to = "+447701000183";
    let j = job(to, json!({}));
    relay.cut_when(Direction::ToUpstream, j["id"].as_str().unwrap().as_bytes(), false);
    let id = house.publish(&j).await;
    relay.sprung().await;
    relay.cut_when(Direction::ToUpstream, b"from dispatch d where uid = $1", true);
    relay.sprung().await;
    let d = house.until_state(id, "delivered").await;
    assert!(!outcomes(&d).contains(&"unknown"), "{d:?}");
    assert_eq!(house.accepted(to).await, 1);
    worker.stop().await;
    front_end.stop().await;
}

/// The same, and the code's life is over when that is found out.
///
/// Seen to fail: where a known id is left alone when its code has expired (it does not end within 90 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_came_through_unheard_may_have_expired_since() {
    let house = House::build(Duration::from_millis(20)).await;
    let (front_end, worker, relay) = parts(&house).await;
    let to = "+447701000184";
    let j = job(to, json!({"expires_at": in_seconds(13)}));
    relay.cut_when(Direction::ToUpstream, j["id"].as_str().unwrap().as_bytes(), false);
    let id = house.publish(&j).await;
    is_away(&house, &relay, id, |d| between(now(), d.order.expires_at) < TOO_LITTLE).await;
    let d = house.until(id, "final", |d| d.state.is_final()).await;
    assert_eq!((d.state.as_str(), outcomes(&d), house.accepted(to).await), ("expired", vec!["not_sent"], 0));
    worker.stop().await;
    front_end.stop().await;
}
