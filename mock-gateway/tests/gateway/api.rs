//! Scripts, manual receipts, phones.

use serde_json::json;

use crate::setup::{FROM, TestSetup, answer};

const TO: &str = "+447700900100";

#[tokio::test]
async fn each_request_uses_the_next_scripted_outcome() {
    let setup = TestSetup::start().await;
    let script = json!(["unavailable", { "outcome": "reject", "status": 400, "code": 21635 }, "deliver"]);
    setup.script(TO, script).await;
    let (status, _) = answer(setup.text(TO)).await;
    assert_eq!(status, 503);
    let (status, body) = answer(setup.text(TO)).await;
    assert_eq!((status, &body["code"]), (400, &json!(21635)));
    assert_eq!(answer(setup.text(TO)).await.0, 201);
    assert_eq!(answer(setup.text(TO)).await.0, 201);
}

#[tokio::test]
async fn a_script_can_be_for_one_channel_and_can_be_cleared() {
    let setup = TestSetup::start().await;
    let script = json!({ "to": TO, "channel": "voice", "outcomes": ["unavailable", "unavailable"] });
    assert_eq!(setup.api_post("/api/script", &script).await, (200, json!({ "queued": 2 })));
    assert_eq!(answer(setup.text(TO)).await.0, 201);
    assert_eq!(answer(setup.call(TO, &[])).await.0, 503);
    let cleared = setup.client.delete(setup.url("/api/script")).send().await.unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(answer(setup.call(TO, &[])).await.0, 201);
}

#[tokio::test]
async fn a_script_with_an_unknown_outcome_is_refused() {
    let setup = TestSetup::start().await;
    for script in [
        json!({ "to": TO, "outcomes": ["delivered"] }),
        json!({ "to": TO, "outcomes": [{ "outcome": "slow", "seconds": 1 }] }),
        json!({ "to": TO, "channel": "fax", "outcomes": ["deliver"] }),
        json!({ "to": "nobody", "outcomes": ["deliver"] }),
    ] {
        let (status, _) = setup.api_post("/api/script", &script).await;
        assert!((400..500).contains(&status), "{script}");
    }
}

#[tokio::test]
async fn a_manual_receipt_is_sent_at_once_and_returns_the_receivers_answer() {
    let mut setup = TestSetup::start().await;
    let (_, body) = answer(setup.text("+447700900104")).await;
    let sid = body["sid"].as_str().unwrap();
    setup.until(|newest| newest["status"] == "sent").await;
    let receipt = json!({ "status": "undelivered", "error_code": 30005 });
    let (status, told) = setup.api_post(&format!("/api/receipts/{sid}"), &receipt).await;
    assert_eq!((status, &told["http_status"], &told["attempts"]), (200, &json!(204), &json!(1)));
    let arrived = setup.receiver.next().await;
    assert_eq!((arrived.status(), arrived.get("ErrorCode")), ("undelivered", Some("30005")));
    assert_eq!(arrived.get("MessageSid"), Some(sid));
    let entry = setup.entries("accepted").await.pop().unwrap();
    assert_eq!((&entry["status"], &entry["error_code"]), (&json!("undelivered"), &json!(30005)));
}

#[tokio::test]
async fn a_manual_receipt_of_a_call_ignores_the_requested_events() {
    let mut setup = TestSetup::start().await;
    let form =
        [("To", TO), ("From", FROM), ("Twiml", "<Response/>"), ("StatusCallback", &setup.receiver.url)];
    let (_, body) = answer(setup.post("Calls.json", &form)).await;
    assert_eq!(setup.receiver.next().await.status(), "completed");
    let path = format!("/api/receipts/{}", body["sid"].as_str().unwrap());
    setup.api_post(&path, &json!({ "status": "ringing" })).await;
    let arrived = setup.receiver.next().await;
    assert_eq!((arrived.status(), arrived.get("SequenceNumber")), ("ringing", Some("1")));
}

#[tokio::test]
async fn a_manual_receipt_needs_a_message_and_a_callback_url() {
    let setup = TestSetup::start().await;
    let receipt = json!({ "status": "delivered" });
    assert_eq!(setup.api_post("/api/receipts/SM1", &receipt).await.0, 404);
    let (_, body) = answer(setup.post("Messages.json", &[("To", TO), ("From", FROM), ("Body", "Hi")])).await;
    let path = format!("/api/receipts/{}", body["sid"].as_str().unwrap());
    assert_eq!(setup.api_post(&path, &receipt).await.0, 409);
    assert_eq!(setup.api_post(&path, &json!({ "status": "De livered" })).await.0, 400);
}

#[tokio::test]
async fn phones_show_the_newest_first_and_can_be_searched() {
    let setup = TestSetup::start().await;
    answer(setup.text(TO)).await;
    answer(setup.text("+447700900101")).await;
    answer(setup.call(TO, &[])).await;
    let phones = setup.get("/api/phones").await;
    assert_eq!((&phones["accepted"], &phones["dropped"]), (&json!(3), &json!(0)));
    assert_eq!(phones["phones"][0]["number"], TO);
    assert_eq!(phones["phones"][1]["number"], "+447700900101");
    let channels = [0, 1].map(|place| phones["phones"][0]["messages"][place]["channel"].clone());
    assert_eq!(channels, [json!("voice"), json!("sms")]);

    for (search, found) in [("0101", 1), ("1.%202.%203", 1), ("YOUR%20CODE", 2), ("nothing%20like%20it", 0)] {
        let phones = setup.get(&format!("/api/phones?q={search}")).await;
        assert_eq!(phones["phones"].as_array().unwrap().len(), found, "{search}");
    }
}
