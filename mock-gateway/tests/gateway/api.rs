//! Scripts, receipts by hand, phones.

use serde_json::json;

use crate::lab::{FROM, Lab, answer};

const TO: &str = "+447700900100";

#[tokio::test]
async fn a_script_is_used_up_one_request_after_the_other() {
    let lab = Lab::start().await;
    let script = json!(["unavailable", { "outcome": "reject", "status": 400, "code": 21635 }, "deliver"]);
    lab.script(TO, script).await;
    let (status, _) = answer(lab.text(TO)).await;
    assert_eq!(status, 503);
    let (status, body) = answer(lab.text(TO)).await;
    assert_eq!((status, &body["code"]), (400, &json!(21635)));
    assert_eq!(answer(lab.text(TO)).await.0, 201);
    assert_eq!(answer(lab.text(TO)).await.0, 201);
}

#[tokio::test]
async fn a_script_can_be_for_one_channel_and_can_be_cleared() {
    let lab = Lab::start().await;
    let script = json!({ "to": TO, "channel": "voice", "outcomes": ["unavailable", "unavailable"] });
    assert_eq!(lab.api_post("/api/script", &script).await, (200, json!({ "queued": 2 })));
    assert_eq!(answer(lab.text(TO)).await.0, 201);
    assert_eq!(answer(lab.call(TO, &[])).await.0, 503);
    let cleared = lab.client.delete(lab.url("/api/script")).send().await.unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(answer(lab.call(TO, &[])).await.0, 201);
}

#[tokio::test]
async fn a_script_with_a_word_that_does_not_exist_is_refused() {
    let lab = Lab::start().await;
    for script in [
        json!({ "to": TO, "outcomes": ["delivered"] }),
        json!({ "to": TO, "outcomes": [{ "outcome": "slow", "seconds": 1 }] }),
        json!({ "to": TO, "channel": "fax", "outcomes": ["deliver"] }),
        json!({ "to": "nobody", "outcomes": ["deliver"] }),
    ] {
        let (status, _) = lab.api_post("/api/script", &script).await;
        assert!((400..500).contains(&status), "{script}");
    }
}

#[tokio::test]
async fn a_receipt_by_hand_is_sent_at_once_and_says_how_it_was_taken() {
    let mut lab = Lab::start().await;
    let (_, body) = answer(lab.text("+447700900104")).await;
    let sid = body["sid"].as_str().unwrap();
    lab.until(|newest| newest["status"] == "sent").await;
    let receipt = json!({ "status": "undelivered", "error_code": 30005 });
    let (status, told) = lab.api_post(&format!("/api/receipts/{sid}"), &receipt).await;
    assert_eq!((status, &told["http_status"], &told["attempts"]), (200, &json!(204), &json!(1)));
    let arrived = lab.receiver.next().await;
    assert_eq!((arrived.status(), arrived.get("ErrorCode")), ("undelivered", Some("30005")));
    assert_eq!(arrived.get("MessageSid"), Some(sid));
    let entry = lab.entries("accepted").await.pop().unwrap();
    assert_eq!((&entry["status"], &entry["error_code"]), (&json!("undelivered"), &json!(30005)));
}

#[tokio::test]
async fn a_receipt_by_hand_for_a_call_is_sent_whatever_events_were_asked_for() {
    let mut lab = Lab::start().await;
    let form = [("To", TO), ("From", FROM), ("Twiml", "<Response/>"), ("StatusCallback", &lab.receiver.url)];
    let (_, body) = answer(lab.post("Calls.json", &form)).await;
    assert_eq!(lab.receiver.next().await.status(), "completed");
    let path = format!("/api/receipts/{}", body["sid"].as_str().unwrap());
    lab.api_post(&path, &json!({ "status": "ringing" })).await;
    let arrived = lab.receiver.next().await;
    assert_eq!((arrived.status(), arrived.get("SequenceNumber")), ("ringing", Some("1")));
}

#[tokio::test]
async fn a_receipt_by_hand_needs_something_to_tell_of_and_somebody_to_tell() {
    let lab = Lab::start().await;
    let receipt = json!({ "status": "delivered" });
    assert_eq!(lab.api_post("/api/receipts/SM1", &receipt).await.0, 404);
    let (_, body) = answer(lab.post("Messages.json", &[("To", TO), ("From", FROM), ("Body", "Hi")])).await;
    let path = format!("/api/receipts/{}", body["sid"].as_str().unwrap());
    assert_eq!(lab.api_post(&path, &receipt).await.0, 409);
    assert_eq!(lab.api_post(&path, &json!({ "status": "De livered" })).await.0, 400);
}

#[tokio::test]
async fn phones_show_the_newest_first_and_can_be_searched() {
    let lab = Lab::start().await;
    answer(lab.text(TO)).await;
    answer(lab.text("+447700900101")).await;
    answer(lab.call(TO, &[])).await;
    let phones = lab.get("/api/phones").await;
    assert_eq!((&phones["accepted"], &phones["dropped"]), (&json!(3), &json!(0)));
    assert_eq!(phones["phones"][0]["number"], TO);
    assert_eq!(phones["phones"][1]["number"], "+447700900101");
    let channels = [0, 1].map(|place| phones["phones"][0]["messages"][place]["channel"].clone());
    assert_eq!(channels, [json!("voice"), json!("sms")]);

    for (search, found) in [("0101", 1), ("1.%202.%203", 1), ("YOUR%20CODE", 2), ("nothing%20like%20it", 0)] {
        let phones = lab.get(&format!("/api/phones?q={search}")).await;
        assert_eq!(phones["phones"].as_array().unwrap().len(), found, "{search}");
    }
}
