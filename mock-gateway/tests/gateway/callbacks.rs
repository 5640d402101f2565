//! Callbacks: retries, time-outs, signatures.

use std::process::Command;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::setup::{FROM, Reply, TestSetup, answer};

const TO: &str = "+447700900100";

/// Sends a text whose only callback reports that it failed.
async fn failing_text(setup: &TestSetup, status_callback: &str) {
    let form = [("To", "+447700900103"), ("From", FROM), ("Body", "Hi"), ("StatusCallback", status_callback)];
    assert_eq!(answer(setup.post("Messages.json", &form)).await.0, 201);
}

/// Returns the result of the newest text's only callback.
async fn settled(setup: &TestSetup) -> Value {
    setup.until(|newest| newest["callbacks"][0].is_object()).await["callbacks"][0].clone()
}

#[tokio::test]
async fn an_error_answer_is_retried_only_if_requested() {
    let mut setup = TestSetup::start().await;
    setup.receiver.reply(&[Reply::Status(500)]);
    failing_text(&setup, &setup.receiver.url).await;
    let callback = settled(&setup).await;
    assert_eq!((&callback["attempts"], &callback["http_status"]), (&json!(1), &json!(500)));
    assert_eq!(callback["status"], "failed");
    setup.receiver.next().await;
    assert!(setup.receiver.arrived_already().is_none());
}

#[tokio::test]
async fn a_url_can_request_retries_with_one_common_token() {
    let mut setup = TestSetup::start().await;
    setup.receiver.reply(&[Reply::Status(500), Reply::Status(404)]);
    failing_text(&setup, &format!("{}#rc=2&rp=all", setup.receiver.url)).await;
    let (first, second, third) =
        (setup.receiver.next().await, setup.receiver.next().await, setup.receiver.next().await);
    let token = first.header("i-twilio-idempotency-token").to_owned();
    assert_eq!(second.header("i-twilio-idempotency-token"), token);
    assert_eq!(third.header("i-twilio-idempotency-token"), token);
    let callback = settled(&setup).await;
    assert_eq!((&callback["attempts"], &callback["http_status"]), (&json!(3), &json!(204)));

    failing_text(&setup, &setup.receiver.url).await;
    assert_ne!(setup.receiver.next().await.header("i-twilio-idempotency-token"), token);
}

#[tokio::test]
async fn a_retry_policy_retries_only_its_failures() {
    let setup = TestSetup::start().await;
    for (status, attempts) in [(503, 1), (404, 4)] {
        setup.receiver.reply(&[Reply::Status(status); 4]);
        failing_text(&setup, &format!("{}#rc=3&rp=4xx", setup.receiver.url)).await;
        let callback = settled(&setup).await;
        assert_eq!((&callback["attempts"], &callback["http_status"]), (&json!(attempts), &json!(status)));
        // The rest is for the next round.
        for _ in attempts..4 {
            failing_text(&setup, &setup.receiver.url).await;
            settled(&setup).await;
        }
    }
}

#[tokio::test]
async fn an_unreachable_receiver_is_tried_twice() {
    let setup = TestSetup::start().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    failing_text(&setup, &format!("http://{unused}/")).await;
    let callback = settled(&setup).await;
    assert_eq!((&callback["attempts"], &callback["http_status"]), (&json!(2), &Value::Null));
    assert!(callback["error"].as_str().unwrap().contains("refused"), "{callback}");
}

#[tokio::test]
async fn a_callback_without_an_answer_is_abandoned() {
    let setup = TestSetup::start().await;
    setup.receiver.reply(&[Reply::Hang; 3]);
    failing_text(&setup, &format!("{}#rt=100&rc=1&rp=rt", setup.receiver.url)).await;
    let callback = settled(&setup).await;
    assert_eq!((&callback["attempts"], &callback["http_status"]), (&json!(2), &Value::Null));

    failing_text(&setup, &format!("{}#tt=100", setup.receiver.url)).await;
    let callback = settled(&setup).await;
    assert!(callback["error"].as_str().unwrap().contains("total time"), "{callback}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut setup = TestSetup::start().await;
    setup.receiver.reply(&[Reply::Status(307)]);
    failing_text(&setup, &setup.receiver.url).await;
    assert_eq!(settled(&setup).await["http_status"], 307);
    setup.receiver.next().await;
    assert!(setup.receiver.arrived_already().is_none());
}

#[tokio::test]
async fn there_is_no_callback_without_a_url() {
    let setup = TestSetup::start().await;
    answer(setup.post("Messages.json", &[("To", TO), ("From", FROM), ("Body", "Hi")])).await;
    let entry = setup.until(|newest| newest["status"] == "delivered").await;
    assert_eq!(entry["callbacks"], json!([]));
}

/// The official Python library verifies this, in the interpreter that `scripts/test` prepares.
#[tokio::test]
async fn twilios_own_library_accepts_the_signatures_and_refuses_forged_ones() {
    let Ok(python) = std::env::var("OTPOST_TEST_PYTHON") else {
        panic!(
            "OTPOST_TEST_PYTHON is not set: run scripts/test, which prepares a Python with the twilio library"
        );
    };
    let mut setup = TestSetup::start().await;
    answer(setup.text(TO)).await;
    answer(setup.call(TO, &[("MachineDetection", "Enable")])).await;
    for _ in 0..6 {
        let callback = setup.receiver.next().await;
        let signature = callback.header("x-twilio-signature");
        let judge = |form: &[(String, String)]| {
            let program = "import json, sys\n\
                           from twilio.request_validator import RequestValidator\n\
                           token, url, form, signature = sys.argv[1:]\n\
                           print(RequestValidator(token).validate(url, dict(json.loads(form)), signature))";
            let form = serde_json::to_string(form).unwrap();
            let output = Command::new(&python)
                .args(["-c", program, &setup.config.auth_token, &setup.receiver.url, &form, signature])
                .output()
                .expect("the Python of OTPOST_TEST_PYTHON runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        assert_eq!(judge(&callback.form), "True", "{callback:?}");
        let mut forged = callback.form.clone();
        forged[1].1.push('x');
        assert_eq!(judge(&forged), "False");
    }
}
