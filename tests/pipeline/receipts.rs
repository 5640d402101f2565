//! Receipts that arrive early, late, instead of an answer, or not at all: traces 7, 8 and 9.

use std::time::Duration;

use otpost::app::Roles;
use otpost::domain::attempt::{Outcome, Reason, ReceiptStatus};
use serde_json::json;

use crate::support::deployment::{Deployment, job};

/// Trace 7.
pub(crate) async fn unknown_outcomes_and_their_receipts(deployment: &Deployment) {
    // a: a receipt proves the acceptance that the answer did not report.
    let reported = async {
        let to = "+447701000071";
        deployment.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
        let id = deployment.publish(&job(to, json!({}))).await;
        deployment.until(id, "unknown", |d| d.attempts[0].outcome == Some(Outcome::Unknown)).await;
        let sid = deployment.record("accepted", Some(to)).await[0]["sid"].as_str().unwrap().to_owned();
        deployment.receipt(&sid, "delivered").await;
        deployment.until_state(id, "delivered").await;
        deployment.until_events(id, &["sent 4", "delivered 5"]).await;
        assert_eq!(deployment.accepted(to).await, 1);
    };
    // b: an interim receipt proves it too: accepted, and not repeated.
    let on_its_way = async {
        let to = "+447701000074";
        deployment.script(to, json!(["hang_up"])).await;
        let id = deployment.publish(&job(to, json!({}))).await;
        deployment.until(id, "unknown", |d| d.attempts[0].outcome == Some(Outcome::Unknown)).await;
        let sid = deployment.record("accepted", Some(to)).await[0]["sid"].as_str().unwrap().to_owned();
        deployment.receipt(&sid, "sent").await;
        let d = deployment.until_state(id, "sent").await;
        assert_eq!((d.version, d.wake_at), (4, Some(d.order.expires_at)), "only a receipt can change it");
        assert_eq!((d.attempts.len(), d.attempts[0].outcome), (1, Some(Outcome::Accepted)));
        deployment.receipt(&sid, "delivered").await;
        deployment.until_state(id, "delivered").await;
        deployment.until_events(id, &["sent 4", "delivered 6"]).await;
        assert_eq!(deployment.accepted(to).await, 1);
    };
    // c: without a receipt there is one repeat.
    let repeated = async {
        let to = "+447701000072";
        deployment.script(to, json!(["hang_up"])).await;
        let id = deployment.publish(&job(to, json!({}))).await;
        let d = deployment.until_state(id, "delivered").await;
        assert_eq!(d.attempts[1].repeats, Some(1));
        assert_eq!(deployment.accepted(to).await, 2);
        deployment.until_events(id, &["sent 4", "delivered 6"]).await;
    };
    // d: after two unknown outcomes there is no third request.
    let twice = async {
        let to = "+447701000073";
        deployment.script(to, json!(["hang_up", "hang_up", "deliver"])).await;
        let id = deployment.publish(&job(to, json!({}))).await;
        let d = deployment
            .until(id, "unknown twice", |d| d.attempts.len() == 2 && d.attempts[1].outcome.is_some())
            .await;
        assert_eq!(d.state.as_str(), "sending");
        assert_eq!(d.wake_at, Some(d.order.expires_at), "wake is now the code's expiry");
        assert_eq!(deployment.accepted(to).await, 2);
    };
    tokio::join!(reported, on_its_way, repeated, twice);
}

/// Trace 8.
pub(crate) async fn receipts_before_and_after_the_answer(deployment: &Deployment) {
    tokio::join!(
        bad_then_good(deployment),
        good_before_the_answer(deployment),
        bad_before_the_answer(deployment)
    );
}

async fn bad_then_good(deployment: &Deployment) {
    let to = "+447701000008";
    deployment.script(to, json!(["late_delivery"])).await;
    let id = deployment.publish(&job(to, json!({"channels": ["sms", "voice"]}))).await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 2, "the bad receipt brought the call at once");
    let fallback = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(fallback < 2000, "{fallback} ms");
    let events = deployment.events(id);
    assert_eq!(events[0], "sent 2");
}

async fn good_before_the_answer(deployment: &Deployment) {
    let to = "+447701000088";
    deployment.script(to, json!(["receipt_first"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), deployment.accepted(to).await), (1, 1));
    deployment
        .until(id, "with the details of the late answer", |d| d.attempts[0].details.segments == Some(1))
        .await;
}

/// Rows 1 to 7.
async fn bad_before_the_answer(deployment: &Deployment) {
    let to = "+447701000083";
    // The carrier answers late, and then reports that the text was delivered. It sends no receipt for the
    // call.
    deployment.script(to, json!([{"outcome": "slow", "ms": 2000}, "silent"])).await;
    let id = deployment.publish(&job(to, json!({"channels": ["sms", "voice"]}))).await;
    deployment.until_accepted(to, 1).await;
    let sid = deployment.record("accepted", Some(to)).await[0]["sid"].as_str().unwrap().to_owned();
    assert!(deployment.until(id, "there", |_| true).await.open_attempt().is_some(), "not answered yet");
    deployment.receipt(&sid, "undelivered").await;
    deployment.until_events(id, &["sent 3", "sent 5"]).await;
    let d = deployment.until_state(id, "delivered").await;
    deployment.until_events(id, &["sent 3", "sent 5", "delivered 7"]).await;
    let [text, call] = &d.attempts[..] else { panic!("a text and a call: {:?}", d.attempts) };
    assert_eq!((text.step, text.details.message_id.as_deref()), (1, Some(sid.as_str())));
    assert_eq!((call.step, call.outcome, call.receipt), (2, Some(Outcome::Accepted), None));
    assert_eq!((d.version, d.quota_uses.len()), (7, 2), "a quota use, and one of a call");
    let events = deployment.all_events();
    let event =
        events.iter().find(|e| e["data"]["id"] == json!(id) && e["data"]["state"] == "delivered").unwrap();
    assert_eq!(
        (&event["data"]["step"], &event["data"]["attempt"]),
        (&json!(1), &json!(format!("{}-1", d.order.uid))),
        "{event}"
    );
    assert_eq!(deployment.accepted(to).await, 2);
}

/// Trace 9.
pub(crate) async fn receipts_around_a_fallback(deployment: &Deployment) {
    let silent = async {
        let to = "+447701000009";
        deployment.script(to, json!(["silent"])).await;
        let id =
            deployment.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 2}))).await;
        let d = deployment.until_state(id, "delivered").await;
        let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
        assert!((2000..4500).contains(&gap), "the call begins at the fallback time: {gap} ms");
        let requests = deployment.record("requests", None).await;
        let sid = d.attempts[0].details.message_id.as_deref().unwrap();
        let read = requests
            .iter()
            .filter(|r| r["method"] == "GET" && r["path"].as_str().is_some_and(|p| p.contains(sid)));
        assert_eq!(read.count(), 1, "the status is queried once before a fallback by time");
        deployment.until_events(id, &["sent 2", "sent 4", "delivered 6"]).await;
    };
    let in_time = async {
        let to = "+447701000099";
        let id =
            deployment.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 3}))).await;
        let d = deployment.until_state(id, "delivered").await;
        assert_eq!((d.wake_at, d.code), (None, None), "delivered in time: no wake_at, and so no call");
        assert_eq!(deployment.accepted(to).await, 1);
    };
    tokio::join!(silent, in_time, delivered_while_the_call_is_open(deployment));
}

/// Trace 9, rows 8 to 10.
async fn delivered_while_the_call_is_open(deployment: &Deployment) {
    let to = "+447701000098";
    deployment.script(to, json!(["silent", {"outcome": "slow", "ms": 2000}])).await;
    let id = deployment.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 2}))).await;
    let d = deployment.until(id, "calling", |d| d.attempts.len() == 2 && d.open_attempt().is_some()).await;
    assert_eq!((d.version, d.step), (3, 2));
    deployment.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((d.version, d.code.is_none()), (5, true));
    assert_eq!(d.wake_at, d.open_attempt().map(|call| call.deadline), "the call's request is still open");
    let d = deployment.until(id, "called", |d| d.open_attempt().is_none() && d.wake_at.is_none()).await;
    assert_eq!((d.attempts[1].outcome, d.state.as_str()), (Some(Outcome::Accepted), "delivered"));
    assert_eq!(
        (d.attempts.len(), d.quota_uses.len()),
        (2, 2),
        "no further attempt, and the call has its quota use"
    );
    // The code was deleted with the delivery of the text, so the call has nothing to say.
    deployment.until(id, "the call's receipt", |d| d.attempts[1].receipt_reason == Some(Reason::NoKey)).await;
    deployment.until_events(id, &["sent 2", "delivered 5"]).await;
    assert_eq!(deployment.accepted(to).await, 2);
}

/// Trace 9, row 7: the carrier's receipts cannot reach otpost, but its status query reports the result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queried_status_prevents_the_fallback() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1"]);
    "http://127.0.0.1:1".clone_into(&mut config.receipts.public_url);
    let app = deployment.start(config, Roles::ALL).await;
    let delivered = async |to: &str, plan: [&str; 2]| {
        let id = deployment.publish(&job(to, json!({"channels": plan, "fallback_after_s": 2}))).await;
        let d = deployment.until_state(id, "delivered").await;
        assert_eq!(
            (d.version, d.attempts.len(), d.attempts[0].receipt),
            (4, 1, Some(ReceiptStatus::Delivered))
        );
        deployment.until_events(id, &["sent 2", "delivered 4"]).await;
        let accepted = deployment.record("accepted", Some(to)).await;
        assert_eq!(accepted.len(), 1, "no second message: {accepted:?}");
    };
    let bad = async {
        let to = "+447701000097";
        deployment.script(to, json!([{"outcome": "undelivered", "error_code": 30006}])).await;
        let plan = json!({"channels": ["sms", "voice"], "fallback_after_s": 2});
        let id = deployment.publish(&job(to, plan)).await;
        let d = deployment.until(id, "called", |d| d.attempts.len() == 2 && d.open_attempt().is_none()).await;
        assert_eq!(d.attempts[0].receipt_reason, Some(Reason::Landline), "the reported reason is stored");
        deployment.until_events(id, &["sent 2", "sent 5"]).await;
    };
    // Nobody can request the speech of a call, so its code was not heard.
    let unheard = async {
        let plan = json!({"channels": ["voice", "sms"], "fallback_after_s": 2});
        let id = deployment.publish(&job("+447701000096", plan)).await;
        let d = deployment.until(id, "texted", |d| d.attempts.len() == 2).await;
        assert_eq!(d.attempts[0].receipt, None);
    };
    tokio::join!(delivered("+447701000095", ["sms", "voice"]), unheard, bad);
    app.stop().await;
}
