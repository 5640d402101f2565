//! Infobip's API: with its own client, and with plain requests for cases that the client cannot produce.

use std::process::Command;

use serde_json::{Value, json};

use crate::setup::{TestSetup, answer};

const TO: &str = "41793026727";

fn text(setup: &TestSetup, to: &str, id: &str) -> reqwest::RequestBuilder {
    let delivery = json!({"url": setup.receiver.url, "intermediateReport": true, "notify": true});
    let body = json!({"messages": [{
        "sender": "Shop", "destinations": [{"to": to, "messageId": id}], "content": {"text": "Your code is 123456"},
        "options": {"validityPeriod": {"amount": 90, "timeUnit": "SECONDS"}},
        "webhooks": {"delivery": delivery, "contentType": "application/json"},
    }]});
    setup.client.post(setup.url("/sms/3/messages")).header("authorization", key(setup)).json(&body)
}

fn key(setup: &TestSetup) -> String {
    format!("App {}", setup.config.api_key)
}

async fn logs(setup: &TestSetup, id: &str) -> Value {
    let url = setup.url(&format!("/sms/3/logs?messageId={id}"));
    answer(setup.client.get(url).header("authorization", key(setup))).await.1["results"].clone()
}

#[tokio::test]
async fn a_text_is_accepted_reported_and_in_the_logs() {
    let mut setup = TestSetup::start().await;
    let (status, body) = answer(text(&setup, TO, "job-42")).await;
    assert_eq!(status, 200);
    assert_eq!(body["messages"][0]["messageId"], "job-42");
    assert_eq!(body["messages"][0]["status"]["groupName"], "PENDING");
    let mut statuses = vec![];
    for _ in 0..2 {
        let report = setup.receiver.next().await.json.expect("a report is JSON");
        assert_eq!(report["results"][0]["messageId"], "job-42");
        statuses.push(report["results"][0]["status"]["id"].as_u64());
    }
    assert_eq!(statuses, [Some(7), Some(5)]);
    assert_eq!(logs(&setup, "job-42").await[0]["status"]["groupName"], "DELIVERED");
    assert_eq!(logs(&setup, "job-43").await, json!([]));
    let entry = &setup.entries("accepted").await[0];
    assert_eq!((&entry["carrier"], &entry["validity_s"]), (&json!("infobip"), &json!(90)));
}

#[tokio::test]
async fn a_repeated_id_is_dropped_even_after_a_lost_answer() {
    let setup = TestSetup::start().await;
    setup.script(TO, json!(["hang_up", "deliver"])).await;
    assert!(text(&setup, TO, "job-1").send().await.is_err(), "the connection is closed");
    assert_eq!(answer(text(&setup, TO, "job-1")).await.1["messages"][0]["status"]["id"], 23);
    assert_eq!(setup.entries("accepted").await.len(), 1);
    assert_eq!(answer(text(&setup, TO, "job-2")).await.1["messages"][0]["status"]["id"], 26);
}

#[tokio::test]
async fn a_lost_request_is_not_accepted() {
    let setup = TestSetup::start().await;
    setup.script(TO, json!(["lost"])).await;
    assert!(text(&setup, TO, "job-1").send().await.is_err(), "the connection is closed");
    assert_eq!(setup.entries("accepted").await.len(), 0);
    assert_eq!(logs(&setup, "job-1").await, json!([]));
    setup.script("+447700900300", json!(["lost"])).await;
    assert!(setup.text("+447700900300").send().await.is_err(), "the same at Twilio");
    assert_eq!(setup.entries("accepted").await.len(), 0);
}

#[tokio::test]
async fn refusals_are_statuses_in_a_200_answer_or_errors() {
    let setup = TestSetup::start().await;
    let outcomes = ["invalid_number", "unsubscribed", "invalid_sender", "queue_full"];
    setup.script(TO, json!(outcomes)).await;
    for (outcome, id) in outcomes.iter().zip([52, 10, 13, 20]) {
        let (status, body) = answer(text(&setup, TO, outcome)).await;
        assert_eq!((status, &body["messages"][0]["status"]["id"]), (200, &json!(id)), "{outcome}");
    }
    setup
        .script(TO, json!(["unavailable", "server_error", {"outcome": "throttle", "retry_after_s": 7}]))
        .await;
    for expected in [503, 500, 429] {
        assert_eq!(answer(text(&setup, TO, "again")).await.0, expected);
    }

    let no_key = setup.client.post(setup.url("/sms/3/messages")).json(&json!({}));
    assert_eq!(answer(no_key).await.0, 401);
    let nothing =
        setup.client.post(setup.url("/sms/3/messages")).header("authorization", key(&setup)).json(&json!({}));
    assert_eq!(answer(nothing).await.0, 400);
    assert_eq!(setup.entries("accepted").await.len(), 0);
}

/// The carrier's own client verifies this, in the interpreter that `scripts/test` prepares. It parses every
/// answer and every report strictly.
#[tokio::test]
async fn infobips_own_client_sends_reads_logs_and_reads_reports() {
    let python = std::env::var("OTPOST_TEST_PYTHON").expect(
        "OTPOST_TEST_PYTHON is not set: run scripts/test, which prepares a Python with the infobip library",
    );
    let program = r#"
import sys
from infobip_api_client import ApiClient, Configuration, SmsApi
from infobip_api_client.models import *
host, key, report = sys.argv[1:]
api = SmsApi(ApiClient(Configuration(host=host, api_key=key)))
message = SmsMessage(sender="Shop", destinations=[SmsDestination(to="41793026727", message_id="job-7")],
    content=SmsMessageContent(SmsTextContent(text="Your code is 123456")),
    options=SmsMessageOptions(validity_period=ValidityPeriod(amount=90, time_unit=ValidityPeriodTimeUnit.SECONDS)),
    webhooks=SmsWebhooks(delivery=SmsMessageDeliveryReporting(url=report, intermediate_report=True), content_type="application/json"))
for expected in (26, 23):
    [taken] = api.send_sms_messages(sms_request=SmsRequest(messages=[message])).messages
    assert (taken.message_id, taken.status.id, taken.details.message_count) == ("job-7", expected, 1), taken
[log] = api.get_outbound_sms_message_logs(message_id=["job-7"]).results
assert log.destination == "41793026727" and log.status.group_name in (MessageGeneralStatus.PENDING, MessageGeneralStatus.DELIVERED), log
assert api.get_outbound_sms_message_logs(message_id=["job-8"]).results == []
for line in sys.stdin:
    [result] = SmsDeliveryResult.from_json(line).results
    print(result.message_id, result.status.name, result.error.permanent)
"#;
    let mut setup = TestSetup::start().await;
    answer(text(&setup, TO, "job-6")).await;
    let mut reports = String::new();
    for _ in 0..2 {
        reports.push_str(&setup.receiver.next().await.json.unwrap().to_string());
        reports.push('\n');
    }
    let file = std::env::temp_dir().join(format!("otpost-reports-{}", std::process::id()));
    std::fs::write(&file, &reports).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", program, &setup.url(""), &setup.config.api_key, &setup.receiver.url]);
    command.stdin(std::fs::File::open(&file).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let statuses = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(statuses, "job-6 PENDING_ENROUTE False\njob-6 DELIVERED_TO_HANDSET False\n");
}
