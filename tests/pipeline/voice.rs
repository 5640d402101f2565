//! Calls: call receipts, and the voice quota.

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::domain::attempt::Reason;
use otpost::domain::channel::Channel;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};

use crate::support::deployment::requests::signature;
use crate::support::deployment::{Deployment, in_seconds, job};

/// Trace 20 a and b.
pub(crate) async fn busy_no_answer_machine_and_answered(deployment: &Deployment) {
    for (number, outcome, state, reason) in [
        ("+447701000201", json!("busy"), "undelivered", Some("busy")),
        ("+447701000202", json!("no_answer"), "undelivered", Some("no_answer")),
        ("+447701000203", json!("machine"), "undelivered", Some("machine")),
        ("+447701000206", json!("no_key"), "undelivered", Some("no_key")),
        ("+447701000204", json!("deliver"), "delivered", None),
    ] {
        deployment.script(number, json!([outcome])).await;
        let id = deployment.publish(&job(number, json!({"channels": ["voice"]}))).await;
        let d = deployment.until_state(id, state).await;
        assert_eq!(d.reason.map(Reason::as_str), reason);
        deployment.until_events(id, &["sent 2", &format!("{state} 4")]).await;
    }
    let spoken = deployment.transcript("+447701000204", 0, |spoken| spoken.contains("Goodbye")).await;
    assert_eq!(spoken.matches("4, 8, 1, 5, 1, 6").count(), 3, "{spoken}");
    let asked = "This is Example. Press any key to hear your code.";
    let (before, _) = spoken.split_once("(a key is pressed)").unwrap();
    assert!(before.contains(asked) && !before.contains("4, 8"), "{spoken}");
    // A mailbox records no code.
    for unheard in ["+447701000203", "+447701000206"] {
        let recorded = deployment.transcript(unheard, 0, |spoken| spoken.contains(asked)).await;
        assert!(!recorded.contains("4, 8") && !recorded.contains("(a key is pressed)"), "{recorded}");
    }
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

/// The speech is given to a carrier that signs its request, for a code that is still valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_spoken_only_to_a_pressed_key_of_a_valid_dispatch() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let to = "+447701000210";
    deployment.script(to, json!(["no_key", "silent"])).await;
    let called = async |life: u64| {
        let before = deployment.accepted(to).await;
        let mut job = job(to, json!({"channels": ["voice"]}));
        job["expires_at"] = json!(in_seconds(life));
        let id = deployment.publish(&job).await;
        deployment.until_accepted(to, before + 1).await;
        let call = &deployment.record("accepted", Some(to)).await[before];
        let url = call["status_callback"].as_str().unwrap().split('?').next().unwrap().to_owned();
        (id, format!("{url}?speech"))
    };
    let press = async |url: &str, digits: &str| {
        let (form, fields) = (
            format!("CallStatus=in-progress&Digits={digits}"),
            format!("CallStatusin-progressDigits{digits}"),
        );
        deployment.post_form(url, &[("x-twilio-signature", &signature(url, &fields))], form.into()).await
    };

    let (id, url) = called(300).await;
    let (status, answer) = deployment
        .post_form(&url, &[("x-twilio-signature", "none")], "CallStatus=in-progress&Digits=1".into())
        .await;
    assert_eq!(status, 403, "{answer}");
    assert_eq!(press(&url.replace("-1/", "-2/"), "1").await.0, 403, "the token is of another attempt");
    let (status, answer) = press(&url, "").await;
    assert_eq!(
        (status, answer.contains("<Say"), answer.contains("<Hangup/>")),
        (200, false, true),
        "{answer}"
    );
    // A proxy may have added `=` after the name.
    let (status, answer) = press(&format!("{url}="), "5").await;
    assert_eq!((status, answer.matches("4, 8, 1, 5, 1, 6").count()), (200, 3), "{answer}");
    deployment.until_state(id, "delivered").await;
    let (status, answer) = press(&url, "5").await;
    assert_eq!((status, answer.contains("<Say")), (200, false), "a final dispatch has no code: {answer}");

    // Little more than the shortest life with which a call begins (10 s).
    let (id, url) = called(12).await;
    deployment.until(id, "expired", |d| d.code.is_none()).await;
    let (status, answer) = press(&url, "1").await;
    assert_eq!((status, answer.contains("<Say")), (200, false), "an expired code: {answer}");
    app.stop().await;
}

/// `code_at_once` needs no key, and a machine hears the code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_may_be_configured_to_speak_at_once() {
    let mut deployment = Deployment::build(Duration::from_millis(50)).await;
    deployment.code_at_once = true;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let to = "+447701000211";
    deployment.script(to, json!(["machine", "deliver"])).await;
    for state in ["undelivered", "delivered"] {
        let id = deployment.publish(&job(to, json!({"channels": ["voice"]}))).await;
        deployment.until_state(id, state).await;
    }
    for n in [0, 1] {
        let spoken = deployment.transcript(to, n, |spoken| spoken.contains("4, 8, 1, 5, 1, 6")).await;
        assert!(!spoken.contains("key"), "{spoken}");
    }
    app.stop().await;
}
