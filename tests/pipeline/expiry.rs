//! A code that expires: in a backlog, while no carrier has room, and after a text without a receipt.

use std::time::Duration;

use otpost::app::Roles;
use otpost::domain::channel::Channel;
use serde_json::json;

use crate::support::house::{House, in_seconds, job};

/// Trace 15 a.
pub(crate) async fn in_a_backlog(house: &House, app: &otpost::app::App) {
    let to = "+447701000015";
    let id = house.publish(&job(to, json!({"expires_at": in_seconds(5)}))).await;
    house.until_state(id, "expired").await;
    house.until_events(id, &["expired 1"]).await;
    let past = house.publish(&job(to, json!({"expires_at": "2026-01-01T00:00:00Z"}))).await;
    house.until_state(past, "expired").await;
    let (status, problem) = house.post(app, &job(to, json!({"expires_at": in_seconds(5)}))).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("expires_at")));
    assert_eq!(house.accepted(to).await, 0);
}

/// Trace 15 b: the carrier has one slot, and another job holds it for longer than the code lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_snoozed() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1", "c2"]);
    config.worker.slots = 2;
    config.routes.channels = [(Channel::Sms, vec!["c1".to_owned()])].into();
    config.carriers.get_mut("c1").unwrap().time_out_s = 30;
    let app = house.start(config, Roles::ALL).await;
    let holder = "+447701001501";
    house.script(holder, json!([{"outcome": "hold", "seconds": 40}])).await;
    house.publish(&job(holder, json!({}))).await;
    house.until_accepted(holder, 1).await;
    let to = "+447701001502";
    let id = house.publish(&job(to, json!({"expires_at": in_seconds(28)}))).await;
    let d = house.until(id, "snoozed", |d| d.snoozes == 1).await;
    assert_eq!((d.version, d.state.as_str(), d.holds_quota_uses), (1, "queued", true));
    let d = house.until_state(id, "expired").await;
    assert_eq!((d.version, d.attempts.len(), d.holds_quota_uses, d.code), (5, 0, false, None));
    let ended = d.wake_at.is_none() && otpost::domain::clock::now() < d.order.expires_at;
    assert!(ended, "with its last chance, not with the code's end");
    house.until_events(id, &["expired 5"]).await;
    assert_eq!(house.accepted(to).await, 0);
    app.stop().await;
}

/// Trace 15 c: sent, then silence; and much later the carrier says that it was delivered after all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_without_a_receipt_and_corrected() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1"]);
    config.dispatch.receipt_wait_s = 3;
    let app = house.start(config, Roles::ALL).await;
    let to = "+447701001503";
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({"expires_at": in_seconds(14)}))).await;
    house.until_state(id, "sent").await;
    let d = house.until(id, "without its code", |d| d.code.is_none()).await;
    assert_eq!((d.version, d.state.as_str()), (3, "sent"), "the receipt is still awaited");
    let d = house.until_state(id, "unconfirmed").await;
    assert_eq!((d.version, d.wake_at, d.holds_quota_uses), (4, None, true));
    house.until_events(id, &["sent 2", "unconfirmed 4"]).await;
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    house.receipt(&sid, "delivered").await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.version, d.wake_at), (6, None));
    house.until_events(id, &["sent 2", "unconfirmed 4", "delivered 6"]).await;
    // A bad receipt after that changes nothing: `delivered` outranks it.
    house.receipt(&sid, "undelivered").await;
    assert_eq!(house.until(id, "there", |_| true).await.state.as_str(), "delivered");
    assert_eq!(house.accepted(to).await, 1);
    app.stop().await;
}
