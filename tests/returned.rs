//! Messages that RabbitMQ itself dead-letters: they expired in a queue, or were returned to it too often.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::QueueBindOptions;
use lapin::types::{AMQPValue, FieldTable};
use otpost::app::Roles;
use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};
use support::deployment::{Deployment, amqp, in_seconds, job};
use support::node::rabbitmqctl;
use support::wait;

/// Properties of a message that expires in its queue almost at once.
fn expiring() -> BasicProperties {
    BasicProperties::default().with_expiration("100".into())
}

/// Lets all messages of `otpost.dispatch` expire after this time.
fn set_ttl(deployment: &Deployment, ttl: Duration) {
    let policy = format!("{{\"message-ttl\":{}}}", ttl.as_millis());
    let vhost = deployment.vhost.as_str();
    rabbitmqctl(&["set_policy", "-p", vhost, "ttl", r"^otpost\.dispatch$", &policy, "--apply-to", "queues"]);
}

/// Runs `otpost dead`, and returns what it prints.
fn dead(deployment: &Deployment, args: &[&str]) -> String {
    let file = deployment.config_file("dead");
    let mut command = Command::new(env!("CARGO_BIN_EXE_otpost"));
    let out = command.arg("dead").args(args).arg("--config").arg(file).stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{printed}");
    printed
}

/// Asserts that no body of `otpost.dead` shows a number or a code. Returns the list of `otpost dead list`.
async fn sealed_dead_letters(deployment: &Deployment, count: u32) -> Vec<Value> {
    deployment.until_waiting("otpost.dead", count).await;
    for body in deployment.bodies("otpost.dead").await {
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("481516") && !text.contains("7705000"), "it is not sealed: {text}");
    }
    let list: Value = serde_json::from_str(&dead(deployment, &["list", "--json"])).unwrap();
    let list = list.as_array().unwrap().clone();
    assert_eq!(list.len(), count as usize, "{list:?}");
    list
}

fn reasons(list: &[Value]) -> Vec<&str> {
    let mut reasons: Vec<&str> = list.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    reasons
}

/// Fails if RabbitMQ dead-letters to `otpost.dead` (number and code are readable there). Fails if the sender gets no event, or if a
/// replay counts as expired again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_expires_in_its_queue_is_told_and_sealed_and_can_be_replayed() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (good, stranger) = (job("+447705000001", json!({})), job("+447705000002", json!({})));
    let id = good["id"].as_str().unwrap().parse().unwrap();
    let by_guest = expiring().with_user_id("guest".into());
    deployment.publish_with(by_guest, "dispatch", good.to_string().as_bytes()).await;
    deployment.publish_with(expiring(), "dispatch", stranger.to_string().as_bytes()).await;
    deployment.until_waiting("otpost.returned", 2).await;
    let mut config = deployment.config(&["c1"]);
    config.amqp.users.insert("guest".to_owned(), vec!["default".to_owned()]);
    let app = deployment.start(config, Roles::ALL).await;
    deployment.until_events(id, &["expired 1"]).await;
    let events = deployment.all_events();
    assert_eq!((events.len(), &events[0]["data"]["reason"]), (1, &json!("expired_in_queue")), "{events:?}");
    let list = sealed_dead_letters(&deployment, 2).await;
    let of = |job: &Value| list.iter().find(|letter| letter["id"] == job["id"]).unwrap();
    assert_eq!(
        (&of(&good)["reason"], &of(&good)["expired"]),
        (&json!("message: expired_in_queue"), &json!(false))
    );
    assert!(of(&stranger)["reason"].as_str().unwrap().starts_with("user_id: "), "{list:?}");
    assert!(deployment.ledger.find("default", id).await.unwrap().is_none(), "the id is free");
    dead(&deployment, &["drop", of(&stranger)["letter"].as_str().unwrap()]);
    assert!(dead(&deployment, &["replay", "--all"]).contains("1 replayed"));
    deployment.until_state(id, "delivered").await;
    assert_eq!((deployment.accepted("+447705000001").await, deployment.waiting("otpost.dead").await), (1, 0));
    app.stop().await;
}

/// Fails if an expired message is read like any other (the live code is sent late), if a known id is told as expired, or if the row of a
/// job whose own life is over is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_with_a_message_ttl_loses_nothing() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let known = job("+447705000011", json!({}));
    let known_id = deployment.publish(&known).await;
    deployment.until_state(known_id, "delivered").await;
    app.stop().await;
    set_ttl(&deployment, Duration::from_millis(100));
    let (alive, over) =
        (job("+447705000012", json!({})), job("+447705000013", json!({"expires_at": in_seconds(5)})));
    let alive_id = deployment.publish(&alive).await;
    let over_id = deployment.publish(&over).await;
    deployment.publish(&known).await;
    let act = json!({"id": known_id, "verified": true});
    deployment.publish_bytes("feedback", act.to_string().as_bytes()).await;
    deployment
        .publish_bytes("wake", json!({"v": 1, "uid": uuid::Uuid::now_v7()}).to_string().as_bytes())
        .await;
    deployment.publish_bytes("dispatch", b"{").await;
    deployment.until_waiting("otpost.returned", 6).await;
    rabbitmqctl(&["clear_policy", "-p", &deployment.vhost, "ttl"]);
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    deployment.until_events(alive_id, &["expired 1"]).await;
    let row = deployment.until_state(over_id, "expired").await;
    assert_eq!(row.reason.map(otpost::domain::attempt::Reason::as_str), Some("life"));
    deployment.until_events(over_id, &["expired 1"]).await;
    let list = sealed_dead_letters(&deployment, 3).await;
    let reasons = reasons(&list);
    assert!(reasons[0].starts_with("body: is not JSON"), "{reasons:?}");
    assert_eq!(reasons[1..], ["message: expired_in_queue", "message: expired_in_queue"]);
    wait::until("everything is moved", async || {
        deployment.waiting("otpost.returned").await + deployment.waiting("otpost.suspect").await == 0
    })
    .await;
    assert_eq!(deployment.record("accepted", None).await.len(), 1, "only the first job was sent");
    let events = deployment.events(known_id);
    assert!(!events.iter().any(|event| event.starts_with("expired")), "a known id: {events:?}");
    app.stop().await;
}

/// Fails if such a message is parsed, or lies in `otpost.dead` as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_returned_too_often_is_sealed_unread() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let poison = job("+447705000021", json!({"x_poison": true})).to_string();
    deployment.publish_bytes("dispatch", poison.as_bytes()).await;
    deployment.return_all("otpost.dispatch", 21).await;
    let envelope = Envelope::new("dispatch", poison.as_bytes(), usize::MAX);
    deployment.publish_bytes("suspect", &envelope.seal(&deployment.keys, "otpost.suspect")).await;
    deployment.return_all("otpost.suspect", 7).await;
    deployment.until_waiting("otpost.returned", 2).await;
    let file = deployment.config_file("w");
    let _worker = deployment.run_with(&file, "worker", "w", &[("OTPOST_CRASH_ON", "x_poison")]);
    let list = sealed_dead_letters(&deployment, 2).await;
    assert_eq!(reasons(&list), ["message: delivered_too_often", "message: delivered_too_often"]);
    for _ in 0..2 {
        let (_, _, body) = deployment.dead_letter().await;
        let letter = Envelope::open(&deployment.keys, "otpost.dead", &body).unwrap();
        assert_eq!((letter.routing_key.as_str(), &*letter.body()), ("dispatch", &poison.as_bytes().to_vec()));
    }
}

/// A process of a former version declares its binding, and publishes its dead letters with its routing key.
///
/// Fails if the former binding stays (a message with this key is in `otpost.dead` as it is).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_version_beside_this_one_loses_no_dead_letter() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let connection = amqp(&deployment.amqp_url).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let bind = async || {
        let (bound, none) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind("otpost.dead".into(), "otpost".into(), "dead".into(), bound, none).await.unwrap();
    };
    let is_bound = async || {
        let columns = ["source_name", "destination_name", "routing_key"];
        let arguments = [&["list_bindings", "-p", &deployment.vhost], &columns[..]].concat();
        rabbitmqctl(&arguments)
            .lines()
            .any(|line| line.split_whitespace().eq(["otpost", "otpost.dead", "dead"]))
    };
    bind().await;
    assert!(is_bound().await);
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    wait::until("the binding is removed", async || !is_bound().await).await;
    // It connects again.
    bind().await;
    wait::until("the binding is removed again", async || !is_bound().await).await;
    let envelope = Envelope::new("dispatch", b"{", usize::MAX);
    let mut headers = FieldTable::default();
    for (name, value) in
        [("x-otpost-field", "body"), ("x-otpost-reason", "is not JSON"), ("x-otpost-bytes", "1")]
    {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    let properties = BasicProperties::default().with_headers(headers).with_message_id("old".into());
    let sealed = envelope.seal(&deployment.keys, "otpost.dead");
    deployment.publish_with(properties, "dead", &sealed).await;
    deployment.publish_bytes("dead", job("+447705000031", json!({})).to_string().as_bytes()).await;
    let list = sealed_dead_letters(&deployment, 2).await;
    let old = list.iter().find(|letter| letter["letter"] == "old").unwrap();
    assert_eq!(
        (&old["reason"], &old["bytes"], &old["can_be_opened"]),
        (&json!("body: is not JSON"), &json!(1), &json!(true))
    );
    assert!(reasons(&list)[1].starts_with("routing_key: must not be dead"), "{list:?}");
    app.stop().await;
}

/// Fails if a user with the documented rights lacks one that `otpost.returned` needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_at_run_time() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let page = include_str!("../docs/operate.md");
    let line = page.lines().find(|line| line.contains("rabbitmqctl set_permissions")).unwrap();
    let rights: Vec<&str> = line.split('\'').skip(1).step_by(2).collect();
    let user = format!("u-{}", uuid::Uuid::new_v4().simple());
    rabbitmqctl(&["add_user", &user, "pw"]);
    rabbitmqctl(&[&["set_permissions", "-p", &deployment.vhost, &user], &rights[..]].concat());
    let mut config = deployment.config(&["c1"]);
    config.amqp.url = Some(deployment.amqp_url.replace("guest:guest", &format!("{user}:pw")).into());
    config.amqp.declare = false;
    let late = job("+447705000041", json!({}));
    let id = late["id"].as_str().unwrap().parse().unwrap();
    deployment.publish_with(expiring(), "dispatch", late.to_string().as_bytes()).await;
    deployment.until_waiting("otpost.returned", 1).await;
    let app = deployment.start(config, Roles::ALL).await;
    deployment.until_events(id, &["expired 1"]).await;
    sealed_dead_letters(&deployment, 1).await;
    let sent = deployment.publish(&job("+447705000042", json!({}))).await;
    deployment.until_state(sent, "delivered").await;
    let ready = format!("http://{}/readyz", app.ops);
    wait::until("it is ready", async || deployment.get(&ready).await.0 == 200).await;
    app.stop().await;
    rabbitmqctl(&["delete_user", &user]);
}
