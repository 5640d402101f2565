//! Calls: call receipts, and the voice quota.

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::domain::attempt::Reason;
use otpost::domain::channel::Channel;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, job};

/// Trace 20 a and b.
pub(crate) async fn busy_no_answer_machine_and_answered(deployment: &Deployment) {
    for (number, outcome, state, reason) in [
        ("+447701000201", json!("busy"), "undelivered", Some("busy")),
        ("+447701000202", json!("no_answer"), "undelivered", Some("no_answer")),
        ("+447701000203", json!("machine"), "undelivered", Some("machine")),
        ("+447701000204", json!("deliver"), "delivered", None),
    ] {
        deployment.script(number, json!([outcome])).await;
        let id = deployment.publish(&job(number, json!({"channels": ["voice"]}))).await;
        let d = deployment.until_state(id, state).await;
        assert_eq!(d.reason.map(Reason::as_str), reason);
        deployment.until_events(id, &["sent 2", &format!("{state} 4")]).await;
    }
    let spoken = &deployment.record("accepted", Some("+447701000204")).await[0]["transcript"];
    assert_eq!(spoken.as_str().unwrap().matches("4, 8, 1, 5, 1, 6").count(), 3, "{spoken}");
    // A text follows at once after a busy call.
    let to = "+447701000205";
    deployment.script(to, json!(["busy"])).await;
    let id = deployment.publish(&job(to, json!({"channels": ["voice", "sms"]}))).await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 2);
}

/// Trace 20 c: the quota is one call per hour, and this number has used it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_of_calls() {
    // No receipt arrives before the answer.
    let deployment = Deployment::build(Duration::from_millis(500)).await;
    let mut config = deployment.config(&["c1"]);
    config.limits.channels = [(Channel::Voice, vec!["1/1h".parse().unwrap()])].into();
    let app = deployment.start(config, Roles::ALL).await;
    tokio::join!(
        after_a_bad_receipt(&deployment),
        by_time(&deployment),
        after_a_landline(&deployment),
        alone(&deployment, &app),
        before_a_text(&deployment),
    );
    app.stop().await;
}

/// Uses the number's one call.
async fn call(deployment: &Deployment, to: &str) {
    let id = deployment.publish(&job(to, json!({"channels": ["voice"]}))).await;
    deployment.until_state(id, "delivered").await;
}

/// A text to a number that has used its call. Its second step is a call.
async fn text_then_call(deployment: &Deployment, to: &str, outcome: &str, more: Value) -> uuid::Uuid {
    call(deployment, to).await;
    deployment.script(to, json!([outcome])).await;
    let mut j = job(to, json!({"channels": ["sms", "voice"]}));
    for (name, value) in more.as_object().unwrap() {
        j[name] = value.clone();
    }
    deployment.publish(&j).await
}

fn reason(d: &Dispatch) -> Option<&'static str> {
    d.reason.map(Reason::as_str)
}

/// Row 6.
async fn after_a_bad_receipt(deployment: &Deployment) {
    let to = "+447701002006";
    let id = text_then_call(deployment, to, "undelivered", json!({})).await;
    let d = deployment.until_state(id, "undelivered").await;
    assert_eq!((d.version, d.step, d.attempts.len()), (4, 3, 1));
    assert_eq!(reason(&d), d.attempts[0].receipt_reason.map(Reason::as_str), "the receipt's reason");
    deployment.until_events(id, &["sent 2", "undelivered 4"]).await;
    assert_eq!(deployment.accepted(to).await, 2, "the text, and the call before it");
}

/// Row 7.
async fn by_time(deployment: &Deployment) {
    let to = "+447701002007";
    let id = text_then_call(deployment, to, "silent", json!({"fallback_after_s": 1})).await;
    let d = deployment.until(id, "past its plan", |d| d.step == 3).await;
    assert_eq!((d.version, d.state.as_str(), d.attempts.len()), (3, "sent", 1));
    assert_eq!(
        d.wake_at,
        Some(d.order.expires_at),
        "wake is the code's expiry, because a receipt may arrive"
    );
    deployment.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    deployment.until_state(id, "delivered").await;
    deployment.until_events(id, &["sent 2", "delivered 5"]).await;
    assert_eq!(deployment.accepted(to).await, 2);
}

/// Row 8.
async fn after_a_landline(deployment: &Deployment) {
    let to = "+447701002008";
    let id = text_then_call(deployment, to, "not_mobile", json!({})).await;
    let d = deployment.until_state(id, "limited").await;
    assert_eq!((d.version, d.step, d.holds_quota_uses, d.code.is_none()), (3, 3, false, true));
    assert_eq!(reason(&d), Some("voice_quota"));
    deployment.until_events(id, &["limited 3"]).await;
    let events = deployment.all_events();
    let event = events.iter().find(|e| e["data"]["id"] == json!(id)).unwrap();
    assert!((3500..=3600).contains(&event["data"]["retry_after_s"].as_u64().unwrap()), "{event}");
    assert_eq!(deployment.accepted(to).await, 1, "the call before it");
}

/// Row 9: refused at the admission over AMQP, and at the begin over HTTP.
async fn alone(deployment: &Deployment, app: &App) {
    let to = "+447701002009";
    call(deployment, to).await;
    let id = deployment.publish(&job(to, json!({"channels": ["voice"]}))).await;
    let d = deployment.until_state(id, "limited").await;
    assert_eq!((d.version, d.step, d.quota_uses.len(), reason(&d)), (1, 2, 0, Some("voice_quota")));
    deployment.until_events(id, &["limited 1"]).await;
    let j = job(to, json!({"channels": ["voice"]}));
    assert_eq!(deployment.post(app, &j).await.0, 202);
    let id = j["id"].as_str().unwrap().parse().unwrap();
    let d = deployment.until_state(id, "limited").await;
    assert_eq!(
        (d.version, d.quota_uses.len(), d.holds_quota_uses),
        (2, 1, false),
        "its quota use was returned"
    );
    deployment.until_events(id, &["limited 2"]).await;
    assert_eq!(deployment.accepted(to).await, 1);
}

/// Row 10.
async fn before_a_text(deployment: &Deployment) {
    let to = "+447701002010";
    call(deployment, to).await;
    let id = deployment.publish(&job(to, json!({"channels": ["voice", "sms"]}))).await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), d.attempts[0].step, d.quota_uses.len()), (1, 2, 1));
    deployment.until_events(id, &["sent 3", "delivered 5"]).await;
    assert_eq!(deployment.accepted(to).await, 2, "the text, and the call before it");
}
