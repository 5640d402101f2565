//! What the last four digits of a number, and Twilio's own test numbers, do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{FROM, Lab, answer};

fn number(ends: &str) -> String {
    format!("+44770090{ends}")
}

#[tokio::test]
async fn a_refused_text_gets_the_status_and_code_of_its_number() {
    let lab = Lab::start().await;
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
            let (got, body) = answer(lab.text(&number(ends))).await;
            assert_eq!((got, &body["code"]), (status, &json!(code)), "{ends}");
        }
    }
    assert_eq!(lab.entries("accepted").await.len(), 0, "a refused text is not on record as accepted");
    assert_eq!(lab.entries("requests").await.len(), 24);
}

#[tokio::test]
async fn a_refused_call_gets_the_status_and_code_of_its_number() {
    let lab = Lab::start().await;
    for (ends, status, code) in [
        ("0109", 429, 20429),
        ("0113", 400, 21215),
        ("0114", 401, 20003),
        ("0115", 500, 20500),
        ("0119", 503, 20503),
    ] {
        let (got, body) = answer(lab.call(&number(ends), &[])).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{ends}");
    }
    assert_eq!(lab.entries("accepted").await.len(), 0);
}

#[tokio::test]
async fn twilios_own_test_numbers_do_what_twilio_documents() {
    let lab = Lab::start().await;
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
        let (got, body) = answer(lab.post("Messages.json", &form)).await;
        assert_eq!((got, &body["code"]), (status, &json!(code)), "{from} to {to}");
    }
    assert_eq!(answer(lab.text("+15005550010")).await.0, 201);
}

#[tokio::test]
async fn a_text_that_is_not_delivered_is_told_so_with_a_code() {
    let mut lab = Lab::start().await;
    answer(lab.text(&number("0102"))).await;
    assert_eq!(lab.receiver.next().await.status(), "sent");
    let told = lab.receiver.next().await;
    assert_eq!((told.status(), told.get("ErrorCode")), ("undelivered", Some("30003")));

    answer(lab.text(&number("0103"))).await;
    let told = lab.receiver.next().await;
    assert_eq!((told.status(), told.get("ErrorCode")), ("failed", Some("30007")));

    answer(lab.text(&number("0118"))).await;
    assert_eq!(lab.receiver.states(3).await, ["sent", "undelivered", "delivered"]);
}

#[tokio::test]
async fn a_silent_text_is_sent_and_nothing_is_ever_told() {
    let mut lab = Lab::start().await;
    let (_, body) = answer(lab.text(&number("0104"))).await;
    lab.until(|newest| newest["status"] == "sent").await;
    // Whatever it had to tell would have come before what is told now by hand.
    let receipt = json!({ "status": "read", "error_code": null });
    lab.api_post(&format!("/api/receipts/{}", body["sid"].as_str().unwrap()), &receipt).await;
    assert_eq!(lab.receiver.next().await.status(), "read");
}

#[tokio::test]
async fn a_number_that_is_unavailable_twice_accepts_the_third_request_and_starts_over() {
    let lab = Lab::start().await;
    for expected in [503, 503, 201, 503] {
        assert_eq!(answer(lab.text(&number("0105"))).await.0, expected);
    }
    for expected in [503, 503, 201, 503] {
        assert_eq!(answer(lab.call(&number("0105"), &[])).await.0, expected);
    }
    assert_eq!(lab.entries("accepted").await.len(), 2);
}

#[tokio::test]
async fn a_throttled_request_is_told_when_to_come_back() {
    let lab = Lab::start().await;
    for (ends, after) in [("0108", "1"), ("0109", "600")] {
        let response = lab.text(&number(ends)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &after.parse().unwrap())
        );
    }
    assert_eq!(answer(lab.text(&number("0108"))).await.0, 201);
    assert_eq!(answer(lab.text(&number("0109"))).await.0, 429);
}

#[tokio::test]
async fn a_request_that_is_hung_up_on_was_accepted_and_the_next_one_is_normal() {
    let mut lab = Lab::start().await;
    for request in [lab.text(&number("0106")), lab.call(&number("0106"), &[])] {
        assert!(request.send().await.is_err(), "there must be no answer");
        let entry = lab.entries("accepted").await.pop().unwrap();
        assert_eq!((&entry["answer"], &entry["outcome"]), (&json!("hung up"), &json!("hang_up")));
    }
    assert_eq!(answer(lab.text(&number("0106"))).await.0, 201);
    assert_eq!(lab.receiver.states(2).await, ["sent", "delivered"], "only the second text is told of");
    let first = &lab.entries("accepted").await[0];
    assert_eq!((&first["callbacks"], &first["status"]), (&json!([]), &json!("sent")));
}

#[tokio::test]
async fn a_number_can_hang_up_every_time() {
    let lab = Lab::start().await;
    for _ in 0..3 {
        assert!(lab.text(&number("0126")).send().await.is_err());
        assert!(lab.call(&number("0126"), &[]).send().await.is_err());
    }
    assert_eq!(lab.entries("accepted").await.len(), 6);
}

#[tokio::test]
async fn a_request_that_is_held_was_accepted_and_the_next_one_is_normal() {
    let lab = Lab::start().await;
    let error = lab.text(&number("0107")).timeout(Duration::from_millis(300)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let entry = lab.entries("accepted").await.pop().unwrap();
    assert_eq!((&entry["answer"], &entry["outcome"]), (&json!("held"), &json!("hold")));
    assert_eq!(answer(lab.text(&number("0107"))).await.0, 201);
}

#[tokio::test]
async fn a_held_request_is_hung_up_on_in_the_end() {
    let lab = Lab::start().await;
    lab.script(&number("0000"), json!([{ "outcome": "hold", "seconds": 0 }])).await;
    let error = lab.text(&number("0000")).send().await.unwrap_err();
    assert!(!error.is_timeout(), "{error}");
}

#[tokio::test]
async fn a_slow_number_is_answered_after_two_seconds() {
    let lab = Lab::start().await;
    let began = Instant::now();
    assert_eq!(answer(lab.text(&number("0116"))).await.0, 201);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_receipt_can_come_before_the_answer() {
    let mut lab = Lab::start().await;
    let (status, body) = answer(lab.text(&number("0117"))).await;
    let told = lab.receiver.arrived_already().expect("the callback came before the answer");
    assert_eq!((status, told.status(), told.get("MessageSid")), (201, "delivered", body["sid"].as_str()));
    let entry = lab.entries("accepted").await.pop().unwrap();
    assert_eq!(entry["callbacks"][0]["http_status"], 204, "and it was answered before, too");
}

#[tokio::test]
async fn the_table_of_magic_numbers_is_served() {
    let lab = Lab::start().await;
    let table = lab.get("/api/magic").await;
    let row = |ends: &str| table.as_array().unwrap().iter().find(|row| row["ends"] == ends).cloned();
    assert_eq!(
        row("0108").unwrap()["sms"],
        json!([{ "outcome": "throttle", "retry_after_s": 1 }, { "outcome": "deliver" }])
    );
    assert_eq!(row("0121").unwrap()["voice"], json!([{ "outcome": "busy" }]));
    assert!(row("0126").unwrap()["says"].is_string());
    assert_eq!(row("0100"), None::<Value>);
}
