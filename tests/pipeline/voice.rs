//! Calls: what a carrier says of them, and the quota that they have of their own.

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::domain::attempt::Reason;
use otpost::domain::channel::Channel;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};

use crate::support::house::{House, job};

/// Trace 20 a and b.
pub(crate) async fn busy_no_answer_machine_and_answered(house: &House) {
    for (number, outcome, state, reason) in [
        ("+447701000201", json!("busy"), "undelivered", Some("busy")),
        ("+447701000202", json!("no_answer"), "undelivered", Some("no_answer")),
        ("+447701000203", json!("machine"), "undelivered", Some("machine")),
        ("+447701000204", json!("deliver"), "delivered", None),
    ] {
        house.script(number, json!([outcome])).await;
        let id = house.publish(&job(number, json!({"channels": ["voice"]}))).await;
        let d = house.until_state(id, state).await;
        assert_eq!(d.reason.map(Reason::as_str), reason);
        house.until_events(id, &["sent 2", &format!("{state} 4")]).await;
    }
    let spoken = &house.record("accepted", Some("+447701000204")).await[0]["transcript"];
    assert_eq!(spoken.as_str().unwrap().matches("4, 8, 1, 5, 1, 6").count(), 3, "{spoken}");
    // A busy call is followed by a text at once.
    let to = "+447701000205";
    house.script(to, json!(["busy"])).await;
    let id = house.publish(&job(to, json!({"channels": ["voice", "sms"]}))).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 2);
}

/// Trace 20 c: one call an hour, and this number had it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quota_of_calls() {
    // No receipt overtakes the answer.
    let house = House::build(Duration::from_millis(500)).await;
    let mut config = house.config(&["c1"]);
    config.limits.channels = [(Channel::Voice, vec!["1/1h".parse().unwrap()])].into();
    let app = house.start(config, Roles::ALL).await;
    tokio::join!(
        after_a_bad_receipt(&house),
        by_time(&house),
        after_a_landline(&house),
        alone(&house, &app),
        before_a_text(&house),
    );
    app.stop().await;
}

/// Uses the one call up.
async fn call(house: &House, to: &str) {
    let id = house.publish(&job(to, json!({"channels": ["voice"]}))).await;
    house.until_state(id, "delivered").await;
}

/// A text to a number that was called before, with a call as the second step.
async fn text_then_call(house: &House, to: &str, outcome: &str, more: Value) -> uuid::Uuid {
    call(house, to).await;
    house.script(to, json!([outcome])).await;
    let mut j = job(to, json!({"channels": ["sms", "voice"]}));
    for (name, value) in more.as_object().unwrap() {
        j[name] = value.clone();
    }
    house.publish(&j).await
}

fn reason(d: &Dispatch) -> Option<&'static str> {
    d.reason.map(Reason::as_str)
}

/// Row 6.
async fn after_a_bad_receipt(house: &House) {
    let to = "+447701002006";
    let id = text_then_call(house, to, "undelivered", json!({})).await;
    let d = house.until_state(id, "undelivered").await;
    assert_eq!((d.version, d.step, d.attempts.len()), (4, 3, 1));
    assert_eq!(reason(&d), d.attempts[0].receipt_reason.map(Reason::as_str), "the receipt's reason");
    house.until_events(id, &["sent 2", "undelivered 4"]).await;
    assert_eq!(house.accepted(to).await, 2, "the text, and the call before it");
}

/// Row 7.
async fn by_time(house: &House) {
    let to = "+447701002007";
    let id = text_then_call(house, to, "silent", json!({"fallback_after_s": 1})).await;
    let d = house.until(id, "past its plan", |d| d.step == 3).await;
    assert_eq!((d.version, d.state.as_str(), d.attempts.len()), (3, "sent", 1));
    assert_eq!(d.wake_at, Some(d.order.expires_at), "the receipt is awaited");
    house.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    house.until_state(id, "delivered").await;
    house.until_events(id, &["sent 2", "delivered 5"]).await;
    assert_eq!(house.accepted(to).await, 2);
}

/// Row 8.
async fn after_a_landline(house: &House) {
    let to = "+447701002008";
    let id = text_then_call(house, to, "not_mobile", json!({})).await;
    let d = house.until_state(id, "limited").await;
    assert_eq!((d.version, d.step, d.holds_quota_uses, d.code.is_none()), (3, 3, false, true));
    assert_eq!(reason(&d), Some("voice_quota"));
    house.until_events(id, &["limited 3"]).await;
    let events = house.all_events();
    let event = events.iter().find(|e| e["data"]["id"] == json!(id)).unwrap();
    assert!((3500..=3600).contains(&event["data"]["retry_after_s"].as_u64().unwrap()), "{event}");
    assert_eq!(house.accepted(to).await, 1, "the call before it");
}

/// Row 9: refused with admit by AMQP, at the begin by HTTP.
async fn alone(house: &House, app: &App) {
    let to = "+447701002009";
    call(house, to).await;
    let id = house.publish(&job(to, json!({"channels": ["voice"]}))).await;
    let d = house.until_state(id, "limited").await;
    assert_eq!((d.version, d.step, d.quota_uses.len(), reason(&d)), (1, 2, 0, Some("voice_quota")));
    house.until_events(id, &["limited 1"]).await;
    let j = job(to, json!({"channels": ["voice"]}));
    assert_eq!(house.post(app, &j).await.0, 202);
    let id = j["id"].as_str().unwrap().parse().unwrap();
    let d = house.until_state(id, "limited").await;
    assert_eq!((d.version, d.quota_uses.len(), d.holds_quota_uses), (2, 1, false), "its slot came back");
    house.until_events(id, &["limited 2"]).await;
    assert_eq!(house.accepted(to).await, 1);
}

/// Row 10.
async fn before_a_text(house: &House) {
    let to = "+447701002010";
    call(house, to).await;
    let id = house.publish(&job(to, json!({"channels": ["voice", "sms"]}))).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), d.attempts[0].step, d.quota_uses.len()), (1, 2, 1));
    house.until_events(id, &["sent 3", "delivered 5"]).await;
    assert_eq!(house.accepted(to).await, 2, "the text, and the call before it");
}
