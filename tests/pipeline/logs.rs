//! Log lines that operators search for.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, job};
use crate::support::wait;

/// The lines of a log with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    all.filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).collect()
}

/// Fails if a breaker opens or closes silently, or is reported at each probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_breaker_is_logged_when_it_opens_and_when_it_closes() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let _process = deployment.process("worker,receipts", "http://127.0.0.1:0", "info", "all");
    deployment.serving("all").await;
    // Eight failures in a row, and then the retries succeed.
    let numbers: Vec<String> = (1..=8).map(|n| format!("+44770700000{n}")).collect();
    for to in &numbers {
        deployment.script(to, json!(["unavailable"])).await;
    }
    for to in &numbers {
        deployment.publish(&job(to, json!({}))).await;
    }
    let closed = async || !lines(&deployment.log("all"), "circuit breaker closed").is_empty();
    wait::until("the breaker closes", closed).await;
    let opened = lines(&deployment.log("all"), "circuit breaker opened");
    assert_eq!(opened.len(), 1, "{opened:#?}");
    assert_eq!((&opened[0]["carrier"], &opened[0]["channel"]), (&json!("c1"), &json!("sms")));
}

/// Fails if refused credentials are an error at each probe, or if the error does not say what to check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_account_is_one_error_that_says_what_to_check() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let _process = deployment.process("worker,receipts", "http://127.0.0.1:0", "info", "all");
    deployment.serving("all").await;
    let to = "+447707000011";
    deployment.script(to, json!(["unauthorized", "unauthorized"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    deployment.until_state(id, "delivered").await;
    let requests = deployment.record("requests", Some(to)).await.len();
    assert_eq!(requests, 3, "two refused ones, the second of them a probe");
    let log = deployment.log("all");
    let errors: Vec<Value> = lines(&log, "").into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((&errors[0]["carrier"], &errors[0]["detail"]), (&json!("c1"), &json!("account")));
    let advice = errors[0]["advice"].as_str().unwrap();
    assert!(advice.starts_with("check account_sid and auth_token"), "{advice}");
}

/// Fails if the lines of a dispatch cannot be found by the trace of its sender.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_of_a_dispatch_name_the_trace_of_its_sender() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let _process = deployment.process("worker,receipts", "http://127.0.0.1:0", "info", "all");
    deployment.serving("all").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut headers = FieldTable::default();
    let context = format!("00-{trace}-00f067aa0ba902b7-01");
    headers.insert("traceparent".into(), AMQPValue::LongString(context.into()));
    let traced = job("+447707000001", json!({}));
    let properties = BasicProperties::default().with_headers(headers);
    deployment.publish_with(properties, "dispatch", traced.to_string().as_bytes()).await;
    let other = job("+447707000002", json!({}));
    deployment.publish(&other).await;
    for job in [&traced, &other] {
        deployment.until_state(job["id"].as_str().unwrap().parse().unwrap(), "delivered").await;
    }
    let logged = async || lines(&deployment.log("all"), "dispatch state changed").len() >= 4;
    wait::until("each dispatch is sent and delivered", logged).await;
    for line in lines(&deployment.log("all"), "dispatch state changed") {
        let expected = if line["dispatch.id"] == traced["id"] { json!(trace) } else { Value::Null };
        assert_eq!(line["trace_id"], expected, "{line}");
    }
}
