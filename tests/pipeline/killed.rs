//! Trace 10: a worker is killed, and another one finishes its attempts.

use std::time::Duration;

use serde_json::json;

use crate::support::deployment::{Deployment, FRONT_END, WORKER, job};
use crate::support::relay::{Direction, Relay};

/// Class and method of AMQP 0-9-1's `basic.ack`.
const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];

/// a) The request does not reach the carrier, and the ack does not reach the broker. Both are delayed, and
/// lost with the worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_byte() {
    // No receipt arrives before the answer.
    let deployment = Deployment::build(Duration::from_millis(500)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let broker = Relay::start(deployment.broker()).await;
    let carrier = Relay::start(deployment.gateway.addr()).await;
    let victim =
        deployment.process_through("worker", front_end.receipts.unwrap(), "victim", &broker, &carrier);
    deployment.serving("victim").await;
    deployment.until_consumed().await;
    // The relay holds the request to the carrier and the ack, until the worker is killed.
    carrier.stall();
    broker.refuse(true);
    broker.cut_when(Direction::ToUpstream, &BASIC_ACK, true);
    let to = "+447701000102";
    deployment.script(to, json!(["deliver"])).await;
    let j = job(to, json!({}));
    let id = deployment.publish(&j).await;
    broker.triggered().await;
    let d = deployment.until(id, "begun", |d| d.open_attempt().is_some()).await;
    assert_eq!((d.version, d.state.as_str(), deployment.accepted(to).await), (1, "sending", 0));
    victim.signal("KILL");
    carrier.cut();
    let survivor = deployment.start(deployment.config_behind(&front_end), WORKER).await;
    let d = deployment.until_state(id, "delivered").await;
    let words: Vec<&str> = d.attempts.iter().map(|a| a.outcome.unwrap().word()).collect();
    assert_eq!((words, d.version, d.quota_uses.len()), (vec!["unknown", "accepted"], 6, 1));
    deployment.until_events(id, &["sent 4", "delivered 6"]).await;
    assert_eq!(deployment.accepted(to).await, 1, "one text, late");
    assert_eq!(
        deployment.waiting("otpost.dispatch").await,
        0,
        "it was redelivered, recognised and acknowledged"
    );
    survivor.stop().await;
    front_end.stop().await;
}

/// b) The carrier accepts, and the worker is killed before it gets the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_answer() {
    // No receipt arrives before the answer.
    let deployment = Deployment::build(Duration::from_millis(500)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let victim = deployment.worker_process(front_end.receipts.unwrap(), "victim");
    let (reported, silent) = ("+447701000101", "+447701000120");
    for to in [reported, silent] {
        deployment.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    }
    let a = deployment.publish(&job(reported, json!({}))).await;
    let b = deployment.publish(&job(silent, json!({}))).await;
    for to in [reported, silent] {
        deployment.until_accepted(to, 1).await;
    }
    victim.signal("KILL");
    let survivor = deployment.start(deployment.config_behind(&front_end), WORKER).await;
    let sid = deployment.record("accepted", Some(reported)).await[0]["sid"].as_str().unwrap().to_owned();
    deployment.receipt(&sid, "delivered").await;
    deployment.until_state(a, "delivered").await;
    deployment.until_events(a, &["sent 3", "delivered 4"]).await;
    // Without a receipt the outcome is unknown at the deadline, and one repeat follows.
    let d = deployment.until_state(b, "delivered").await;
    assert_eq!(d.attempts[0].outcome.unwrap().word(), "unknown");
    assert_eq!((deployment.accepted(reported).await, deployment.accepted(silent).await), (1, 2));
    deployment.until_events(b, &["sent 4", "delivered 6"]).await;
    survivor.stop().await;
    front_end.stop().await;
}
