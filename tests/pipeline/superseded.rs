//! A newer code for the same purpose: trace 12.

use std::time::Duration;

use otpost::app::App;
use otpost::domain::attempt::Outcome;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::house::{FRONT_END, House, WORKER, job};
use crate::support::relay::Relay;

/// A code to sign in with, of a number's one purpose.
fn sign_in(to: &str, second: u8, more: &Value) -> Value {
    let issued_at = format!("2026-01-01T00:00:{second:02}Z");
    let mut j = job(to, json!({"supersedes": "sign-in", "issued_at": issued_at}));
    for (name, value) in more.as_object().unwrap() {
        j[name] = value.clone();
    }
    j
}

/// Trace 12.
pub(crate) async fn a_newer_job_supersedes(house: &House, app: &App) {
    tokio::join!(accepted(house, app), unknown(house));
}

/// Case a, and an older one that comes later: row 8.
async fn accepted(house: &House, app: &App) {
    let to = "+447701000012";
    house.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let plan = json!({"channels": ["sms", "voice"], "fallback_after_s": 3});
    let x = house.publish(&sign_in(to, 1, &plan)).await;
    house.until(x, "in flight", |d| d.open_attempt().is_some()).await;
    let y = house.publish(&sign_in(to, 2, &json!({"code": "999999"}))).await;
    house.until(x, "stopped", |d| d.stop.is_some()).await;
    house.until_state(y, "delivered").await;
    let d = house.until_state(x, "delivered").await;
    assert_eq!((d.wake_at, d.code), (None, None), "never a call for the older one: nobody looks at it again");
    house.until_events(x, &["sent 4", "delivered 6"]).await;
    let older = sign_in(to, 0, &json!({"code": "777777"}));
    let (status, problem) = house.post(app, &older).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/superseded")));
    let id: Uuid = older["id"].as_str().unwrap().parse().unwrap();
    assert!(house.ledger.find("default", id).await.unwrap().is_none(), "an answer, and no row");
    house.publish(&older).await;
    let d = house.until_state(id, "superseded").await;
    assert_eq!((d.version, d.attempts.len(), d.quota_uses.len(), d.code), (1, 0, 0, None));
    house.until_events(id, &["superseded 1"]).await;
    assert_eq!(house.accepted(to).await, 2, "both texts");
}

/// Case c.
async fn unknown(house: &House) {
    let to = "+447701000123";
    house.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    let x = house.publish(&sign_in(to, 1, &json!({"channels": ["sms", "voice"]}))).await;
    house.until(x, "in flight", |d| d.open_attempt().is_some()).await;
    let y = house.publish(&sign_in(to, 2, &json!({}))).await;
    house.until_state(y, "delivered").await;
    let d = house.until(x, "decided", |d| d.version == 4).await;
    assert_eq!((d.attempts[0].outcome, d.state.as_str()), (Some(Outcome::Unknown), "sending"));
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no repeat and no call: its receipt is awaited");
    assert!(d.holds_quota_uses && house.events(x).is_empty());
    assert_eq!(house.accepted(to).await, 2);
}

/// Case b: the older one is not taken, and given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_taken_is_not_tried_again() {
    let house = House::build(Duration::from_millis(50)).await;
    let front_end = house.start(house.config(&["c1"]), FRONT_END).await;
    // Time for the newer one to come while the older one's request is open.
    let relay = Relay::start(house.gateway.addr()).await;
    relay.delay(Duration::from_millis(700));
    let mut config = house.config_behind(&front_end);
    let c1 = config.carriers.get_mut("c1").unwrap().twilio.as_mut().unwrap();
    c1.base_url = format!("http://{}", relay.addr());
    let worker = house.start(config, WORKER).await;
    let to = "+447701000122";
    house.script(to, json!(["unavailable"])).await;
    let x = house.publish(&sign_in(to, 1, &json!({"channels": ["sms", "voice"]}))).await;
    house.until(x, "in flight", |d| d.open_attempt().is_some()).await;
    let y = house.publish(&sign_in(to, 2, &json!({"code": "999999"}))).await;
    let d = house.until_state(x, "superseded").await;
    assert_eq!(d.attempts.iter().map(|a| a.outcome).collect::<Vec<_>>(), [Some(Outcome::Unavailable)]);
    assert_eq!((d.version, d.holds_quota_uses, d.code, d.wake_at), (4, false, None, None));
    house.until_events(x, &["superseded 4"]).await;
    house.until_state(y, "delivered").await;
    let accepted = house.record("accepted", Some(to)).await;
    assert_eq!(accepted.len(), 1, "the newer text alone: {accepted:?}");
    assert!(accepted[0]["body"].as_str().unwrap().contains("999999"), "{accepted:?}");
    worker.stop().await;
    front_end.stop().await;
}
