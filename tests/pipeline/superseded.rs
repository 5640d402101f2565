//! A newer code for the same purpose: trace 12.

use std::time::Duration;

use otpost::app::App;
use otpost::domain::attempt::Outcome;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::deployment::{Deployment, FRONT_END, WORKER, job};
use crate::support::relay::Relay;

/// A sign-in code. All codes of the number have this purpose.
fn sign_in(to: &str, second: u8, more: &Value) -> Value {
    let issued_at = format!("2026-01-01T00:00:{second:02}Z");
    let mut j = job(to, json!({"supersedes": "sign-in", "issued_at": issued_at}));
    for (name, value) in more.as_object().unwrap() {
        j[name] = value.clone();
    }
    j
}

/// Trace 12.
pub(crate) async fn a_newer_job_supersedes(deployment: &Deployment, app: &App) {
    tokio::join!(accepted(deployment, app), unknown(deployment));
}

/// Case a, and an older job that arrives later: row 8.
async fn accepted(deployment: &Deployment, app: &App) {
    let to = "+447701000012";
    deployment.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let plan = json!({"channels": ["sms", "voice"], "fallback_after_s": 3});
    let x = deployment.publish(&sign_in(to, 1, &plan)).await;
    deployment.until(x, "in flight", |d| d.open_attempt().is_some()).await;
    let y = deployment.publish(&sign_in(to, 2, &json!({"code": "999999"}))).await;
    deployment.until(x, "stopped", |d| d.stop.is_some()).await;
    deployment.until_state(y, "delivered").await;
    let d = deployment.until_state(x, "delivered").await;
    assert_eq!((d.wake_at, d.code), (None, None), "the older dispatch gets no call and has no wake_at");
    deployment.until_events(x, &["sent 4", "delivered 6"]).await;
    let older = sign_in(to, 0, &json!({"code": "777777"}));
    let (status, problem) = deployment.post(app, &older).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/superseded")));
    let id: Uuid = older["id"].as_str().unwrap().parse().unwrap();
    assert!(deployment.ledger.find("default", id).await.unwrap().is_none(), "refused without a row");
    deployment.publish(&older).await;
    let d = deployment.until_state(id, "superseded").await;
    assert_eq!((d.version, d.attempts.len(), d.quota_uses.len(), d.code), (1, 0, 0, None));
    deployment.until_events(id, &["superseded 1"]).await;
    assert_eq!(deployment.accepted(to).await, 2, "both texts");
}

/// Case c.
async fn unknown(deployment: &Deployment) {
    let to = "+447701000123";
    deployment.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    let x = deployment.publish(&sign_in(to, 1, &json!({"channels": ["sms", "voice"]}))).await;
    deployment.until(x, "in flight", |d| d.open_attempt().is_some()).await;
    let y = deployment.publish(&sign_in(to, 2, &json!({}))).await;
    deployment.until_state(y, "delivered").await;
    let d = deployment.until(x, "decided", |d| d.version == 4).await;
    assert_eq!((d.attempts[0].outcome, d.state.as_str()), (Some(Outcome::Unknown), "sending"));
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no repeat and no call, wake is the code's expiry");
    assert!(d.holds_quota_uses && deployment.events(x).is_empty());
    assert_eq!(deployment.accepted(to).await, 2);
}

/// Case b: the older text is not accepted, and given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_dispatch_is_not_retried() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    // Leaves time for the newer job to arrive while the older one's request is open.
    let relay = Relay::start(deployment.gateway.addr()).await;
    relay.delay(Duration::from_millis(700));
    let mut config = deployment.config_behind(&front_end);
    let c1 = config.carriers.get_mut("c1").unwrap().twilio.as_mut().unwrap();
    c1.base_url = format!("http://{}", relay.addr());
    let worker = deployment.start(config, WORKER).await;
    let to = "+447701000122";
    deployment.script(to, json!(["unavailable"])).await;
    let x = deployment.publish(&sign_in(to, 1, &json!({"channels": ["sms", "voice"]}))).await;
    deployment.until(x, "in flight", |d| d.open_attempt().is_some()).await;
    let y = deployment.publish(&sign_in(to, 2, &json!({"code": "999999"}))).await;
    let d = deployment.until_state(x, "superseded").await;
    assert_eq!(d.attempts.iter().map(|a| a.outcome).collect::<Vec<_>>(), [Some(Outcome::Unavailable)]);
    assert_eq!((d.version, d.holds_quota_uses, d.code, d.wake_at), (4, false, None, None));
    deployment.until_events(x, &["superseded 4"]).await;
    deployment.until_state(y, "delivered").await;
    let accepted = deployment.record("accepted", Some(to)).await;
    assert_eq!(accepted.len(), 1, "only the newer text: {accepted:?}");
    assert!(accepted[0]["body"].as_str().unwrap().contains("999999"), "{accepted:?}");
    worker.stop().await;
    front_end.stop().await;
}
