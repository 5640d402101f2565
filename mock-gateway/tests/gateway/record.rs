//! The record, in memory and in a file.

use std::time::Duration;

use mock_gateway::Config;
use serde_json::{Value, json};

use crate::setup::{FROM, TestSetup, answer};

const TO: &str = "+447700900100";

fn seqs(page: &Value) -> Vec<u64> {
    let entries = page["entries"].as_array().expect("entries");
    entries.iter().filter_map(|entry| entry["seq"].as_u64()).collect()
}

#[tokio::test]
async fn a_request_is_recorded() {
    let setup = TestSetup::start().await;
    let status_callback = format!("{}#rc=0", setup.receiver.url);
    let form = [
        ("To", TO),
        ("From", FROM),
        ("Body", "Your code is 123456"),
        ("ValidityPeriod", "120"),
        ("StatusCallback", &status_callback),
    ];
    let (_, body) = answer(setup.post("Messages.json", &form)).await;
    let entry = setup.until(|newest| newest["callbacks"][1].is_object()).await;
    for (name, value) in [
        ("seq", json!(1)),
        ("carrier", json!("twilio")),
        ("channel", json!("sms")),
        ("method", json!("POST")),
        ("account", json!(setup.config.account_sid)),
        ("to", json!(TO)),
        ("from", json!(FROM)),
        ("body", json!("Your code is 123456")),
        ("transcript", json!(null)),
        ("sid", body["sid"].clone()),
        ("validity_s", json!(120)),
        ("status_callback", json!(status_callback)),
        ("outcome", json!("deliver")),
        ("answer", json!(201)),
        ("status", json!("delivered")),
        ("error_code", json!(null)),
    ] {
        assert_eq!(entry[name], value, "{name}");
    }
    assert!(entry["at"].as_str().unwrap().ends_with('Z'));
    let states: Vec<_> =
        entry["callbacks"].as_array().unwrap().iter().map(|callback| &callback["status"]).collect();
    assert_eq!(states, ["sent", "delivered"]);
    assert_eq!(setup.entries("requests").await[0], entry, "both lists have the same entry");
}

#[tokio::test]
async fn each_list_has_its_own_numbers_and_can_be_read_in_parts() {
    let setup = TestSetup::start().await;
    for ends in ["0119", "0100", "0110", "0100", "0101"] {
        answer(setup.text(&format!("+44770090{ends}"))).await;
    }
    let page = setup.get("/api/requests?after=1&limit=3").await;
    assert_eq!((seqs(&page), &page["last_seq"], &page["dropped"]), (vec![2, 3, 4], &json!(5), &json!(0)));
    assert_eq!(page["entries"][1]["answer"], 400);
    assert_eq!(seqs(&setup.get("/api/accepted").await), [1, 2, 3]);
    for to in ["+44770090", "%2B44770090", "44770090", "%2044770090"] {
        assert_eq!(seqs(&setup.get(&format!("/api/accepted?to={to}0100")).await), [1, 2], "{to}");
    }
    assert_eq!(seqs(&setup.get("/api/accepted?to=%2B447700900100&after=1").await), [2]);
}

#[tokio::test]
async fn an_unauthorised_request_is_recorded() {
    let setup = TestSetup::start().await;
    let request = setup.client.post(setup.account("Messages.json")).form(&[("To", TO), ("Body", "Hi")]);
    assert_eq!(answer(request).await.0, 401);
    let entry = setup.entries("requests").await.pop().unwrap();
    assert_eq!((&entry["answer"], &entry["to"], &entry["outcome"]), (&json!(401), &json!(TO), &json!(null)));
}

#[tokio::test]
async fn reading_a_text_is_recorded() {
    let setup = TestSetup::start().await;
    let (_, body) = answer(setup.text(TO)).await;
    let sid = body["sid"].as_str().unwrap();
    let read = setup.client.get(setup.account(&format!("Messages/{sid}.json")));
    answer(read.basic_auth(&setup.config.account_sid, Some(&setup.config.auth_token))).await;
    let entry = setup.entries("requests").await.pop().unwrap();
    assert_eq!(
        (&entry["method"], &entry["sid"], &entry["answer"]),
        (&json!("GET"), &json!(sid), &json!(200))
    );
}

#[tokio::test]
async fn the_oldest_entries_are_dropped_and_the_numbers_stay() {
    let setup = TestSetup::with(Config { record_cap: 2, pace: Duration::ZERO, ..Config::default() }).await;
    let mut sids = Vec::new();
    for _ in 0..5 {
        let (_, body) = answer(setup.text(TO)).await;
        sids.push(body["sid"].as_str().unwrap().to_owned());
    }
    let page = setup.get("/api/accepted").await;
    assert_eq!((seqs(&page), &page["dropped"], &page["last_seq"]), (vec![4, 5], &json!(3), &json!(5)));
    for (sid, status) in [(&sids[2], 404), (&sids[3], 200)] {
        let read = setup.client.get(setup.account(&format!("Messages/{sid}.json")));
        let (got, _) =
            answer(read.basic_auth(&setup.config.account_sid, Some(&setup.config.auth_token))).await;
        assert_eq!(got, status);
    }
}

#[tokio::test]
async fn the_file_has_a_request_before_its_answer_and_its_callbacks_later() {
    let file = std::env::temp_dir().join(format!("mock-gateway-{}.jsonl", uuid::Uuid::new_v4()));
    let config = Config { record_file: Some(file.clone()), pace: Duration::ZERO, ..Config::default() };
    let setup = TestSetup::with(config).await;
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // The client gets no answer, but the accepted text is in the file.
    setup.text("+447700900126").send().await.unwrap_err();
    let written = lines();
    assert_eq!(written[0]["kind"], "started");
    let request = &written[1];
    assert_eq!(
        (&request["kind"], &request["accepted"], &request["seq"]),
        (&json!("request"), &json!(true), &json!(1))
    );
    assert_eq!((&request["to"], &request["answer"]), (&json!("+447700900126"), &json!("hung up")));

    answer(setup.text("+447700900119")).await;
    let refused = lines().pop().unwrap();
    assert_eq!((&refused["accepted"], &refused["answer"]), (&json!(false), &json!(503)));

    let (_, body) = answer(setup.text(TO)).await;
    setup.until(|newest| newest["callbacks"][1].is_object()).await;
    let last = lines().pop().unwrap();
    assert_eq!(
        (&last["kind"], &last["sid"], &last["status"]),
        (&json!("callback"), &body["sid"], &json!("delivered"))
    );
    std::fs::remove_file(&file).unwrap();
}
