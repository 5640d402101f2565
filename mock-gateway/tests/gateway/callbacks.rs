//! How callbacks travel: retries, time-outs, signatures.

use std::process::Command;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lab::{FROM, Lab, Reply, answer};

const TO: &str = "+447700900100";

/// A text whose one callback says that it failed.
async fn failing_text(lab: &Lab, status_callback: &str) {
    let form = [("To", "+447700900103"), ("From", FROM), ("Body", "Hi"), ("StatusCallback", status_callback)];
    assert_eq!(answer(lab.post("Messages.json", &form)).await.0, 201);
}

/// How the one callback of the newest text went.
async fn settled(lab: &Lab) -> Value {
    lab.until(|newest| newest["callbacks"][0].is_object()).await["callbacks"][0].clone()
}

#[tokio::test]
async fn an_error_answer_is_not_retried_unless_asked_for() {
    let mut lab = Lab::start().await;
    lab.receiver.reply(&[Reply::Status(500)]);
    failing_text(&lab, &lab.receiver.url).await;
    let told = settled(&lab).await;
    assert_eq!((&told["attempts"], &told["http_status"]), (&json!(1), &json!(500)));
    assert_eq!(told["status"], "failed");
    lab.receiver.next().await;
    assert!(lab.receiver.arrived_already().is_none());
}

#[tokio::test]
async fn a_url_can_ask_for_retries_and_all_of_them_carry_the_same_token() {
    let mut lab = Lab::start().await;
    lab.receiver.reply(&[Reply::Status(500), Reply::Status(404)]);
    failing_text(&lab, &format!("{}#rc=2&rp=all", lab.receiver.url)).await;
    let (first, second, third) =
        (lab.receiver.next().await, lab.receiver.next().await, lab.receiver.next().await);
    let token = first.header("i-twilio-idempotency-token").to_owned();
    assert_eq!(second.header("i-twilio-idempotency-token"), token);
    assert_eq!(third.header("i-twilio-idempotency-token"), token);
    let told = settled(&lab).await;
    assert_eq!((&told["attempts"], &told["http_status"]), (&json!(3), &json!(204)));

    failing_text(&lab, &lab.receiver.url).await;
    assert_ne!(lab.receiver.next().await.header("i-twilio-idempotency-token"), token);
}

#[tokio::test]
async fn a_policy_retries_what_it_names_and_nothing_else() {
    let lab = Lab::start().await;
    for (status, attempts) in [(503, 1), (404, 4)] {
        lab.receiver.reply(&[Reply::Status(status); 4]);
        failing_text(&lab, &format!("{}#rc=3&rp=4xx", lab.receiver.url)).await;
        let told = settled(&lab).await;
        assert_eq!((&told["attempts"], &told["http_status"]), (&json!(attempts), &json!(status)));
        // The rest is for the next round.
        for _ in attempts..4 {
            failing_text(&lab, &lab.receiver.url).await;
            settled(&lab).await;
        }
    }
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_tried_twice() {
    let lab = Lab::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    failing_text(&lab, &format!("http://{nobody}/")).await;
    let told = settled(&lab).await;
    assert_eq!((&told["attempts"], &told["http_status"]), (&json!(2), &Value::Null));
    assert!(told["error"].as_str().unwrap().contains("refused"), "{told}");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_given_up() {
    let lab = Lab::start().await;
    lab.receiver.reply(&[Reply::Hang; 3]);
    failing_text(&lab, &format!("{}#rt=100&rc=1&rp=rt", lab.receiver.url)).await;
    let told = settled(&lab).await;
    assert_eq!((&told["attempts"], &told["http_status"]), (&json!(2), &Value::Null));

    failing_text(&lab, &format!("{}#tt=100", lab.receiver.url)).await;
    let told = settled(&lab).await;
    assert!(told["error"].as_str().unwrap().contains("total time"), "{told}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut lab = Lab::start().await;
    lab.receiver.reply(&[Reply::Status(307)]);
    failing_text(&lab, &lab.receiver.url).await;
    assert_eq!(settled(&lab).await["http_status"], 307);
    lab.receiver.next().await;
    assert!(lab.receiver.arrived_already().is_none());
}

#[tokio::test]
async fn no_address_means_no_callback() {
    let lab = Lab::start().await;
    answer(lab.post("Messages.json", &[("To", TO), ("From", FROM), ("Body", "Hi")])).await;
    let entry = lab.until(|newest| newest["status"] == "delivered").await;
    assert_eq!(entry["callbacks"], json!([]));
}

/// Twilio's own code is the judge: the official Python library, in the interpreter that `scripts/test` prepares.
#[tokio::test]
async fn twilios_own_library_accepts_the_signatures_and_refuses_forged_ones() {
    let Ok(python) = std::env::var("OTPOST_TEST_PYTHON") else {
        panic!(
            "OTPOST_TEST_PYTHON is not set: run scripts/test, which prepares a Python with the twilio library"
        );
    };
    let mut lab = Lab::start().await;
    answer(lab.text(TO)).await;
    answer(lab.call(TO, &[("MachineDetection", "Enable")])).await;
    for _ in 0..6 {
        let told = lab.receiver.next().await;
        let signature = told.header("x-twilio-signature");
        let judge = |form: &[(String, String)]| {
            let program = "import json, sys\n\
                           from twilio.request_validator import RequestValidator\n\
                           token, url, form, signature = sys.argv[1:]\n\
                           print(RequestValidator(token).validate(url, dict(json.loads(form)), signature))";
            let form = serde_json::to_string(form).unwrap();
            let output = Command::new(&python)
                .args(["-c", program, &lab.config.auth_token, &lab.receiver.url, &form, signature])
                .output()
                .expect("the Python of OTPOST_TEST_PYTHON runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        assert_eq!(judge(&told.form), "True", "{told:?}");
        let mut forged = told.form.clone();
        forged[1].1.push('x');
        assert_eq!(judge(&forged), "False");
    }
}
