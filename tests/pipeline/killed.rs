//! Trace 10: a worker is killed, and another ends what it had begun.

use std::time::Duration;

use serde_json::json;

use crate::support::house::{FRONT_END, House, WORKER, job};
use crate::support::relay::{Direction, Relay};

/// Class and method of AMQP 0-9-1's `basic.ack`.
const BASIC_ACK: [u8; 4] = [0, 60, 0, 80];

/// a) The request never reached the carrier, nor the ack the broker: both are held up on their way, and lost with the
/// worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_byte() {
    // No receipt overtakes the answer.
    let house = House::build(Duration::from_millis(500)).await;
    let front_end = house.start(house.config(&["c1"]), FRONT_END).await;
    let broker = Relay::start(house.broker()).await;
    let carrier = Relay::start(house.gateway.addr()).await;
    let victim = house.process_through("worker", front_end.receipts.unwrap(), "victim", &broker, &carrier);
    house.serving("victim").await;
    house.until_consumed().await;
    // What was sent to the carrier does not arrive; the ack is held up, and the worker killed over it.
    carrier.stall();
    broker.refuse(true);
    broker.cut_when(Direction::ToUpstream, &BASIC_ACK, true);
    let to = "+447701000102";
    house.script(to, json!(["deliver"])).await;
    let j = job(to, json!({}));
    let id = house.publish(&j).await;
    broker.sprung().await;
    let d = house.until(id, "begun", |d| d.open_attempt().is_some()).await;
    assert_eq!((d.version, d.state.as_str(), house.accepted(to).await), (1, "sending", 0));
    victim.signal("KILL");
    carrier.cut();
    let survivor = house.start(house.config_behind(&front_end), WORKER).await;
    let d = house.until_state(id, "delivered").await;
    let words: Vec<&str> = d.attempts.iter().map(|a| a.outcome.unwrap().word()).collect();
    assert_eq!((words, d.version, d.quota_uses.len()), (vec!["unknown", "accepted"], 6, 1));
    house.until_events(id, &["sent 4", "delivered 6"]).await;
    assert_eq!(house.accepted(to).await, 1, "one text, late");
    assert_eq!(house.waiting("otpost.dispatch").await, 0, "it came again, was known, and was acked");
    survivor.stop().await;
    front_end.stop().await;
}

/// b) The carrier accepted, the worker dies before it hears so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_answer() {
    // No receipt overtakes the answer.
    let house = House::build(Duration::from_millis(500)).await;
    let front_end = house.start(house.config(&["c1"]), FRONT_END).await;
    let victim = house.worker_process(front_end.receipts.unwrap(), "victim");
    let (told, silent) = ("+447701000101", "+447701000120");
    for to in [told, silent] {
        house.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    }
    let a = house.publish(&job(told, json!({}))).await;
    let b = house.publish(&job(silent, json!({}))).await;
    for to in [told, silent] {
        house.until_accepted(to, 1).await;
    }
    victim.signal("KILL");
    let survivor = house.start(house.config_behind(&front_end), WORKER).await;
    let sid = house.record("accepted", Some(told)).await[0]["sid"].as_str().unwrap().to_owned();
    house.receipt(&sid, "delivered").await;
    house.until_state(a, "delivered").await;
    house.until_events(a, &["sent 3", "delivered 4"]).await;
    // Without a receipt: unknown at the deadline, then one repeat.
    let d = house.until_state(b, "delivered").await;
    assert_eq!(d.attempts[0].outcome.unwrap().word(), "unknown");
    assert_eq!((house.accepted(told).await, house.accepted(silent).await), (1, 2));
    house.until_events(b, &["sent 4", "delivered 6"]).await;
    survivor.stop().await;
    front_end.stop().await;
}
