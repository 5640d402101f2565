//! The outcomes of magic numbers, and of Twilio's own test numbers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::setup::{FROM, TestSetup, answer};

fn number(ends: &str) -> String {
    format!("+44770090{ends}")
}

#[tokio::test]
async fn a_refused_text_gets_the_status_and_code_of_its_number() {
    let setup = TestSetup::start().await;
    for (ends, status, code) in [
        ("0109", 429, 20429),
        ("0110", 400, 21211),
        ("0111", 400, 21614),
        ("0112", 400, 21610),
        ("0113", 400, 21408),
        ("0114", 401, 20003),
        ("0115", 500, 20500),
        ("0119", 503, 20503),
    ] {
        for _ in 0..3 {
            let (got, body) = answer(setup.text(&number(ends))).await;
            assert_eq!((got, &body["code"]), (status, &json!(code)), "{ends}");
        }
    }
    assert_eq!(setup.entries("accepted").await.len(), 0, "a refused text is not recorded as accepted");
    assert_eq!(setup.entries("requests").await.len(), 24);
}

#[tokio::test]
async fn a_refused_call_gets_the_status_and_code_of_its_number() {
    let setup = TestSetup::start().await;
    for (ends, status, code) in [
        ("0109", 429, 20429),
        ("0113", 400, 21215),
        ("0114", 401, 20003),
        ("0115", 500, 20500),
        ("0119", 503, 20503),
    ] {
        let (got, body) = answer(setup.call(&number(ends), &[])).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{ends}");
    }
    assert_eq!(setup.entries("accepted").await.len(), 0);
}

#[tokio::test]
async fn twilios_test_numbers_have_the_documented_outcomes() {
    let setup = TestSetup::start().await;
    for (to, from, status, code) in [
        ("+15005550001", FROM, 400, 21211),
        ("+15005550002", FROM, 400, 21612),
        ("+15005550003", FROM, 400, 21408),
        ("+15005550004", FROM, 400, 21610),
        ("+15005550009", FROM, 400, 21614),
        ("+15005550010", "+15005550001", 400, 21212),
        ("+15005550010", "+15005550007", 400, 21606),
        ("+15005550010", "+15005550008", 429, 21611),
    ] {
        let form = [("To", to), ("From", from), ("Body", "Hi")];
        let (got, body) = answer(setup.post("Messages.json", &form)).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{from} to {to}");
    }
    assert_eq!(answer(setup.text("+15005550010")).await.0, 201);
}

#[tokio::test]
async fn an_undelivered_text_is_reported_with_its_code() {
    let mut setup = TestSetup::start().await;
    answer(setup.text(&number("0102"))).await;
    assert_eq!(setup.receiver.next().await.status(), "sent");
    let callback = setup.receiver.next().await;
    assert_eq!((callback.status(), callback.get("ErrorCode")), ("undelivered", Some("30003")));

    answer(setup.text(&number("0103"))).await;
    let callback = setup.receiver.next().await;
    assert_eq!((callback.status(), callback.get("ErrorCode")), ("failed", Some("30007")));

    answer(setup.text(&number("0118"))).await;
    assert_eq!(setup.receiver.states(3).await, ["sent", "undelivered", "delivered"]);
}

#[tokio::test]
async fn a_silent_text_has_no_final_callback() {
    let mut setup = TestSetup::start().await;
    let (_, body) = answer(setup.text(&number("0104"))).await;
    setup.until(|newest| newest["status"] == "sent").await;
    // Any earlier callback would have arrived before this manual one.
    let receipt = json!({ "status": "read", "error_code": null });
    setup.api_post(&format!("/api/receipts/{}", body["sid"].as_str().unwrap()), &receipt).await;
    assert_eq!(setup.receiver.next().await.status(), "read");
}

#[tokio::test]
async fn a_number_that_is_unavailable_twice_accepts_the_third_request_and_restarts() {
    let setup = TestSetup::start().await;
    for expected in [503, 503, 201, 503] {
        assert_eq!(answer(setup.text(&number("0105"))).await.0, expected);
    }
    for expected in [503, 503, 201, 503] {
        assert_eq!(answer(setup.call(&number("0105"), &[])).await.0, expected);
    }
    assert_eq!(setup.entries("accepted").await.len(), 2);
}

#[tokio::test]
async fn a_throttled_request_gets_retry_after() {
    let setup = TestSetup::start().await;
    for (ends, after) in [("0108", "1"), ("0109", "600")] {
        let response = setup.text(&number(ends)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &after.parse().unwrap())
        );
    }
    assert_eq!(answer(setup.text(&number("0108"))).await.0, 201);
    assert_eq!(answer(setup.text(&number("0109"))).await.0, 429);
}

#[tokio::test]
async fn a_request_with_a_closed_connection_is_accepted_and_the_next_one_is_normal() {
    let mut setup = TestSetup::start().await;
    for request in [setup.text(&number("0106")), setup.call(&number("0106"), &[])] {
        assert!(request.send().await.is_err(), "there must be no answer");
        let entry = setup.entries("accepted").await.pop().unwrap();
        assert_eq!((&entry["answer"], &entry["outcome"]), (&json!("hung up"), &json!("hang_up")));
    }
    assert_eq!(answer(setup.text(&number("0106"))).await.0, 201);
    assert_eq!(setup.receiver.states(2).await, ["sent", "delivered"], "only the second text has callbacks");
    let first = &setup.entries("accepted").await[0];
    assert_eq!((&first["callbacks"], &first["status"]), (&json!([]), &json!("sent")));
}

#[tokio::test]
async fn a_number_can_close_the_connection_every_time() {
    let setup = TestSetup::start().await;
    for _ in 0..3 {
        assert!(setup.text(&number("0126")).send().await.is_err());
        assert!(setup.call(&number("0126"), &[]).send().await.is_err());
    }
    assert_eq!(setup.entries("accepted").await.len(), 6);
}

#[tokio::test]
async fn a_held_request_is_accepted_and_the_next_one_is_normal() {
    let setup = TestSetup::start().await;
    let error = setup.text(&number("0107")).timeout(Duration::from_millis(300)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let entry = setup.entries("accepted").await.pop().unwrap();
    assert_eq!((&entry["answer"], &entry["outcome"]), (&json!("held"), &json!("hold")));
    assert_eq!(answer(setup.text(&number("0107"))).await.0, 201);
}

#[tokio::test]
async fn a_held_request_ends_with_a_closed_connection() {
    let setup = TestSetup::start().await;
    setup.script(&number("0000"), json!([{ "outcome": "hold", "seconds": 0 }])).await;
    let error = setup.text(&number("0000")).send().await.unwrap_err();
    assert!(!error.is_timeout(), "{error}");
}

#[tokio::test]
async fn a_slow_number_is_answered_after_two_seconds() {
    let setup = TestSetup::start().await;
    let began = Instant::now();
    assert_eq!(answer(setup.text(&number("0116"))).await.0, 201);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_receipt_can_arrive_before_the_answer() {
    let mut setup = TestSetup::start().await;
    let (status, body) = answer(setup.text(&number("0117"))).await;
    let callback = setup.receiver.arrived_already().expect("the callback came before the answer");
    assert_eq!(
        (status, callback.status(), callback.get("MessageSid")),
        (201, "delivered", body["sid"].as_str())
    );
    let entry = setup.entries("accepted").await.pop().unwrap();
    assert_eq!(entry["callbacks"][0]["http_status"], 204, "the callback was answered first");
}

#[tokio::test]
async fn the_table_of_magic_numbers_is_served() {
    let setup = TestSetup::start().await;
    let table = setup.get("/api/magic").await;
    let row = |ends: &str| table.as_array().unwrap().iter().find(|row| row["ends"] == ends).cloned();
    assert_eq!(
        row("0108").unwrap()["sms"],
        json!([{ "outcome": "throttle", "retry_after_s": 1 }, { "outcome": "deliver" }])
    );
    assert_eq!(row("0121").unwrap()["voice"], json!([{ "outcome": "busy" }]));
    assert!(row("0126").unwrap()["says"].is_string());
    assert_eq!(row("0100"), None::<Value>);
}
