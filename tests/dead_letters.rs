//! The queue of dead letters is bounded in time and size, and its length is a metric.

mod support;

use std::time::Duration;

use lapin::options::BasicGetOptions;
use otpost::app::Roles;
use otpost::broker::topology::QUEUES;
use serde_json::json;
use support::deployment::{Deployment, FRONT_END, amqp, job};
use support::node::rabbitmqctl;
use support::wait;

/// Fails if a dead letter has no expiration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_expires_after_the_configured_days() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.amqp.dead_letter_days = 2;
    let app = deployment.start(config, Roles::ALL).await;
    deployment.publish_bytes("dispatch", b"{").await;
    deployment.until_waiting("otpost.dead", 1).await;
    let connection = amqp(&deployment.amqp_url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let got =
        channel.basic_get("otpost.dead".into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
    assert_eq!(got.properties.expiration().as_ref().unwrap().as_str(), "172800000");
    app.stop().await;
}

/// Fails if a queue is missing, or if the lengths are read only once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_length_of_each_queue_is_a_metric() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    deployment.publish_bytes("dead-letter", b"first").await;
    let app = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let metrics = format!("http://{}/metrics", app.ops);
    let shows = async |queue: &str, length: u32| {
        let line = format!("otpost_queue_messages{{queue=\"{queue}\"}} {length}\n");
        wait::until(&line, async || deployment.get(&metrics).await.1.contains(&line)).await;
    };
    for queue in &QUEUES {
        shows(queue.name, u32::from(queue.name == "otpost.dead")).await;
    }
    deployment.publish_bytes("dead-letter", b"second").await;
    deployment.publish(&job("+447707000001", json!({}))).await;
    shows("otpost.dead", 2).await;
    shows("otpost.dispatch", 1).await;
    app.stop().await;
}

/// Fails if the policy does not match the queue, or refuses new dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_policy_bounds_the_dead_letters_in_bytes() {
    const BOUND: usize = 100_000;
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let page = include_str!("../docs/operate.md");
    let line = page.lines().find(|line| line.contains("rabbitmqctl set_policy")).unwrap();
    let [pattern, definition] = line.split('\'').skip(1).step_by(2).collect::<Vec<_>>()[..] else {
        panic!("a pattern and a definition: {line}")
    };
    let mut definition: serde_json::Value = serde_json::from_str(definition).unwrap();
    assert!(definition["max-length-bytes"].is_u64(), "{definition}");
    definition["max-length-bytes"] = json!(BOUND);
    let definition = definition.to_string();
    let vhost = deployment.vhost.as_str();
    rabbitmqctl(&["set_policy", "-p", vhost, "otpost-dead", pattern, &definition, "--apply-to", "queues"]);
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    // Ten times as much as fits. Each sealed letter is larger than its body.
    for n in 0..100 {
        deployment.publish_bytes("dispatch", format!("{n:010000}").as_bytes()).await;
    }
    deployment.publish_bytes("dispatch", b"{").await;
    let sent = deployment.publish(&job("+447707000011", json!({}))).await;
    deployment.until_state(sent, "delivered").await;
    let dead = "otpost_admissions_total{door=\"amqp\",result=\"dead\"} 101";
    let metrics = format!("http://{}/metrics", app.ops);
    wait::until("all are dead-lettered", async || deployment.get(&metrics).await.1.contains(dead)).await;
    wait::until("nothing is held", async || deployment.waiting("otpost.dispatch").await == 0).await;
    let bodies = deployment.bodies("otpost.dead").await;
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    assert!(bytes <= BOUND && bodies.len() > 3, "{} letters, {bytes} bytes", bodies.len());
    app.stop().await;
}
