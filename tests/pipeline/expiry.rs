//! A code that expires: in a backlog, while no carrier has a free permit, and after a text without a receipt.

use std::time::Duration;

use otpost::app::Roles;
use otpost::domain::channel::Channel;
use serde_json::json;

use crate::support::deployment::{Deployment, in_seconds, job};
use crate::support::wait;

/// Trace 15 a.
pub(crate) async fn in_a_backlog(deployment: &Deployment, app: &otpost::app::App) {
    let to = "+447701000015";
    let id = deployment.publish(&job(to, json!({"expires_at": in_seconds(5)}))).await;
    deployment.until_state(id, "expired").await;
    deployment.until_events(id, &["expired 1"]).await;
    let past = deployment.publish(&job(to, json!({"expires_at": "2026-01-01T00:00:00Z"}))).await;
    deployment.until_state(past, "expired").await;
    let (status, problem) = deployment.post(app, &job(to, json!({"expires_at": in_seconds(5)}))).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("expires_at")));
    assert_eq!(deployment.accepted(to).await, 0);
}

/// Trace 15 b: the carrier has one permit, and another job holds it for longer than the code lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_snoozed() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1", "c2"]);
    config.worker.slots = 2;
    config.routes.channels = [(Channel::Sms, vec!["c1".to_owned()])].into();
    config.carriers.get_mut("c1").unwrap().time_out_s = 30;
    let app = deployment.start(config, Roles::ALL).await;
    let holder = "+447701001501";
    deployment.script(holder, json!([{"outcome": "hold", "seconds": 40}])).await;
    deployment.publish(&job(holder, json!({}))).await;
    deployment.until_accepted(holder, 1).await;
    let to = "+447701001502";
    let id = deployment.publish(&job(to, json!({"expires_at": in_seconds(28)}))).await;
    let d = deployment.until(id, "snoozed", |d| d.snoozes == 1).await;
    assert_eq!((d.version, d.state.as_str(), d.holds_quota_uses), (1, "queued", true));
    let d = deployment.until_state(id, "expired").await;
    assert_eq!((d.version, d.attempts.len(), d.holds_quota_uses, d.code), (5, 0, false, None));
    let ended = d.wake_at.is_none() && otpost::domain::clock::now() < d.order.expires_at;
    assert!(ended, "at its last possible begin, not at the code's expiry");
    deployment.until_events(id, &["expired 5"]).await;
    assert_eq!(deployment.accepted(to).await, 0);
    app.stop().await;
}

/// Trace 15 c: sent, no receipt, and a late `delivered`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_without_a_receipt_and_corrected() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1"]);
    config.dispatch.receipt_wait_s = 3;
    let app = deployment.start(config, Roles::ALL).await;
    let to = "+447701001503";
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({"expires_at": in_seconds(14)}))).await;
    deployment.until_state(id, "sent").await;
    let d = deployment.until(id, "without its code", |d| d.code.is_none()).await;
    assert_eq!((d.version, d.state.as_str()), (3, "sent"), "a receipt may still arrive");
    let d = deployment.until_state(id, "unconfirmed").await;
    assert_eq!((d.version, d.wake_at, d.holds_quota_uses), (4, None, true));
    deployment.until_events(id, &["sent 2", "unconfirmed 4"]).await;
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    deployment.receipt(&sid, "delivered").await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((d.version, d.wake_at), (6, None));
    deployment.until_events(id, &["sent 2", "unconfirmed 4", "delivered 6"]).await;
    // A later bad receipt changes nothing: `delivered` takes precedence.
    deployment.receipt(&sid, "undelivered").await;
    wait::throughout(Duration::from_secs(1), async || {
        let d = deployment.ledger.find("default", id).await.unwrap().unwrap();
        assert_eq!((d.state.as_str(), d.attempts[0].is_bad()), ("delivered", false));
    })
    .await;
    deployment.until_events(id, &["sent 2", "unconfirmed 4", "delivered 6"]).await;
    assert_eq!(deployment.accepted(to).await, 1);
    app.stop().await;
}
