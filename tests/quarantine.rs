//! Quarantine, dead letters, and receipts that are queued during a ledger outage.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use otpost::app::{App, Roles};
use otpost::broker::QueueBrowser;
use otpost::config::Config;
use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};
use support::deployment::{Deployment, FRONT_END, WORKER, in_seconds, job};
use support::relay::Relay;
use support::wait;

/// Fails if a message that was redelivered three times is not quarantined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_redelivered_three_times_is_quarantined() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut ids = vec![];
    for n in 0..5 {
        ids.push(deployment.publish(&job(&format!("+44770400000{n}"), json!({}))).await);
    }
    // In production this message would kill its reader. Here it is only unreadable.
    deployment.publish_bytes("dispatch", b"{\"poison\"").await;
    deployment.redeliver_all("otpost.dispatch", 3).await;
    let fresh = deployment.publish(&job("+447704000009", json!({}))).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    for id in ids.into_iter().chain([fresh]) {
        deployment.until_state(id, "delivered").await;
    }
    assert_eq!(deployment.record("accepted", None).await.len(), 6, "each message once");
    let (field, reason, body) = deployment.dead_letter().await;
    assert_eq!((field.as_str(), reason.starts_with("is not JSON")), ("body", true), "{reason}");
    assert_eq!(
        *Envelope::open(&deployment.keys, "otpost.dead", &body).unwrap().body(),
        b"{\"poison\"".to_vec()
    );
    let (_, metrics) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
    assert!(metrics.contains("otpost_admissions_total{door=\"amqp\",result=\"suspect\"} 6"), "{metrics}");
    assert_eq!(
        (deployment.waiting("otpost.dispatch").await, deployment.waiting("otpost.suspect").await),
        (0, 0)
    );
    app.stop().await;
}

/// Fails if quarantined messages are read without a limit (then there is no dead letter).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_its_reader_in_quarantine_is_dead_lettered() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let j = job("+447704000011", json!({}));
    let envelope = Envelope::new("dispatch", j.to_string().as_bytes(), usize::MAX);
    deployment.publish_bytes("suspect", &envelope.seal(&deployment.keys, "otpost.suspect")).await;
    deployment.redeliver_all("otpost.suspect", 3).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let (field, reason, body) = deployment.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("body", "killed_reader"));
    let kept = Envelope::open(&deployment.keys, "otpost.dead", &body).unwrap();
    assert_eq!(*kept.body(), j.to_string().into_bytes(), "complete and unparsed");
    assert_eq!(deployment.accepted("+447704000011").await, 0);
    // A message in that queue that otpost did not seal.
    deployment.publish_bytes("suspect", b"not sealed").await;
    assert!(deployment.dead_letter().await.1.contains("not sealed by us"));
    app.stop().await;
}

/// A panic in a parser, such as in a library that parses external text, caused by one message.
///
/// Fails if a panic ends the consuming task, so that the next message is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_reading_affects_one_message() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let poison = job("+447704000015", json!({"x_poison": true}));
    let (first, second) = ("+447704000012", "+447704000013");
    deployment.publish(&poison).await;
    deployment.publish(&job(first, json!({}))).await;
    let suspect = |j: &Value| {
        Envelope::new("dispatch", j.to_string().as_bytes(), usize::MAX)
            .seal(&deployment.keys, "otpost.suspect")
    };
    deployment.publish_bytes("suspect", &suspect(&poison)).await;
    deployment.publish_bytes("suspect", &suspect(&job(second, json!({})))).await;
    let (file, variables) = (deployment.config_file("w"), [("OTPOST_PANIC_ON", "x_poison")]);
    let _worker = deployment.run_with(&file, "worker", "w", &variables);
    for to in [first, second] {
        deployment.until_accepted(to, 1).await;
    }
    for _ in 0..2 {
        let (field, reason, body) = deployment.dead_letter().await;
        assert_eq!((field.as_str(), reason.as_str()), ("body", "caused a panic while it was read"));
        let kept = Envelope::open(&deployment.keys, "otpost.dead", &body).unwrap();
        assert_eq!(*kept.body(), poison.to_string().into_bytes());
    }
    assert_eq!(deployment.accepted("+447704000015").await, 0);
}

/// Fails if the next quarantined message waits for the first one's carrier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantined_message_does_not_wait_for_the_carrier_of_the_previous_one() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (hangs, to) = ("+447704000016", "+447704000017");
    deployment.script(hangs, json!([{"outcome": "hold", "seconds": 60}])).await;
    let jobs = [hangs, to].map(|to| job(to, json!({})));
    for j in &jobs {
        let envelope = Envelope::new("dispatch", j.to_string().as_bytes(), usize::MAX);
        deployment.publish_bytes("suspect", &envelope.seal(&deployment.keys, "otpost.suspect")).await;
    }
    let mut config = deployment.config(&["c1"]);
    config.carriers.get_mut("c1").unwrap().time_out_s = 10;
    let app = deployment.start(config, Roles::ALL).await;
    deployment.until_accepted(to, 1).await;
    let first = jobs[0]["id"].as_str().unwrap().parse().unwrap();
    let first = deployment.ledger.find("default", first).await.unwrap().unwrap();
    assert!(first.open_attempt().is_some(), "its carrier has not answered yet: {first:?}");
    app.stop().await;
}

/// A front end that reaches the ledger through a relay, and a worker that does not.
struct Receipts {
    relay: Relay,
    /// A queue with a copy of each queued receipt. The real queue may look empty while a consumer holds its messages.
    kept: String,
    config: Config,
    front_end: App,
    worker: App,
}

impl Receipts {
    async fn start(deployment: &Deployment) -> Self {
        let relay = Relay::start(deployment.database().await).await;
        let kept = deployment.copy_of("receipt").await;
        let mut config = deployment.config(&["c1"]);
        config.ledger.url = Some(deployment.ledger_by(&relay).into());
        let front_end = deployment.start(config.clone(), FRONT_END).await;
        let worker = deployment.start(deployment.config_behind(&front_end), WORKER).await;
        Self { relay, kept, config, front_end, worker }
    }
}

/// Fails if a receipt is refused during the outage, so that no receipt waits in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_queued_during_a_ledger_outage_and_recorded_afterwards() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let Receipts { relay, kept, front_end, worker, .. } = Receipts::start(&deployment).await;
    let to = "+447704000021";
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "sent").await;
    relay.refuse(true);
    relay.cut();
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    deployment.receipt(&sid, "delivered").await;
    deployment.until_waiting(&kept, 1).await;
    let messages = deployment.record("accepted", Some(to)).await;
    assert!(
        messages[0]["callbacks"].to_string().contains("204"),
        "the carrier got a 2xx answer: {}",
        messages[0]["callbacks"]
    );
    assert_eq!(deployment.until(id, "there", |_| true).await.state.as_str(), "sent");
    relay.refuse(false);
    deployment.until_state(id, "delivered").await;
    deployment.until_events(id, &["sent 2", "delivered 4"]).await;
    worker.stop().await;
    front_end.stop().await;
}

/// No receipts listener runs after the outage, so the receipt stays in the queue for a while.
///
/// Fails if a call follows a text that was delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fallback_begins_while_receipts_wait_in_the_queue() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let Receipts { relay, kept, config, front_end, worker } = Receipts::start(&deployment).await;
    let to = "+447704000023";
    deployment.script(to, json!(["silent"])).await;
    let job = job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 20}));
    let id = deployment.publish(&job).await;
    let d = deployment.until_state(id, "sent").await;
    relay.refuse(true);
    relay.cut();
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    deployment.receipt(&sid, "delivered").await;
    deployment.until_waiting(&kept, 1).await;
    // Nobody reads the queue, and a new worker has just started.
    front_end.stop().await;
    worker.stop().await;
    let worker = deployment.start(deployment.config(&["c1"]), WORKER).await;
    let called = async || {
        let d = deployment.ledger.find("default", id).await.unwrap().unwrap();
        (d.state.as_str() != "sent" || d.attempts.len() > 1).then_some(d.attempts)
    };
    let called = wait::within(Duration::from_secs(25), called).await;
    assert_eq!(called, None, "no call");
    relay.refuse(false);
    let front_end = deployment.start(config, FRONT_END).await;
    deployment.until_state(id, "delivered").await;
    assert_eq!(deployment.record("requests", Some(to)).await.len(), 1);
    worker.stop().await;
    front_end.stop().await;
}

/// The receipt comes at the end of the worker's outage, so the worker does not know yet that it waits in the queue.
///
/// Fails if a call follows a text that was delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fallback_begins_before_the_length_of_the_queue_is_known() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let Receipts { relay, kept, front_end, worker, .. } = Receipts::start(&deployment).await;
    // This worker reaches the ledger through a relay of its own.
    worker.stop().await;
    let of_worker = Relay::start(deployment.database().await).await;
    let mut config = deployment.config_behind(&front_end);
    config.ledger.url = Some(deployment.ledger_by(&of_worker).into());
    let worker = deployment.start(config, WORKER).await;
    let to = "+447704000024";
    deployment.script(to, json!(["silent"])).await;
    let job = job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 20}));
    let id = deployment.publish(&job).await;
    let d = deployment.until_state(id, "sent").await;
    for relay in [&relay, &of_worker] {
        relay.refuse(true);
        relay.cut();
    }
    let due = d.wake_at.unwrap();
    wait::until("the call is due", async || otpost::domain::clock::now() > due).await;
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    deployment.receipt(&sid, "delivered").await;
    deployment.until_waiting(&kept, 1).await;
    of_worker.refuse(false);
    wait::throughout(Duration::from_secs(10), async || {
        let d = deployment.ledger.find("default", id).await.unwrap().unwrap();
        assert_eq!((d.state.as_str(), d.attempts.len()), ("sent", 1), "no call");
    })
    .await;
    relay.refuse(false);
    deployment.until_state(id, "delivered").await;
    assert_eq!(deployment.record("requests", Some(to)).await.len(), 1);
    worker.stop().await;
    front_end.stop().await;
}

/// Fails if receipts are recorded one at a time. Then dispatches would end as `unconfirmed` before their receipt is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_receipts_are_recorded_in_groups() {
    const RECEIPTS: u32 = 200;
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let Receipts { relay, kept, front_end, worker, .. } = Receipts::start(&deployment).await;
    // The carrier sends no receipt to these numbers by itself.
    let mut ids = vec![];
    for n in 0..RECEIPTS {
        ids.push(deployment.publish(&job(&format!("+4477{:04}0104", 1000 + n), json!({}))).await);
    }
    let mut sids = vec![];
    for id in &ids {
        let d = deployment.until_state(*id, "sent").await;
        sids.push(d.attempts[0].details.message_id.clone().unwrap());
    }
    relay.refuse(true);
    relay.cut();
    for sid in &sids {
        deployment.receipt(sid, "delivered").await;
    }
    deployment.until_waiting(&kept, RECEIPTS).await;
    relay.refuse(false);
    for id in &ids {
        deployment.until_state(*id, "delivered").await;
    }
    let (_, metrics) = deployment.get(&format!("http://{}/metrics", front_end.ops)).await;
    let of = |name: &str| -> f64 {
        let line = format!("otpost_ledger_group_items_{name}{{operation=\"record\"}} ");
        metrics.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
    };
    let (receipts, groups) = (of("sum"), of("count"));
    assert!(
        receipts >= f64::from(RECEIPTS) && groups <= receipts / 4.0,
        "{receipts} receipts in {groups} groups"
    );
    worker.stop().await;
    front_end.stop().await;
}

/// Fails if the process waits for the ledger after a stop signal (it takes 65 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_worker_gives_back_messages_that_wait_for_the_ledger() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let relay = Relay::start(deployment.database().await).await;
    let mut config = deployment.config(&["c1"]);
    config.ledger.url = Some(deployment.ledger_by(&relay).into());
    config.worker.grace_s = 60;
    let worker = deployment.start(config, WORKER).await;
    deployment.until_consumed().await;
    relay.refuse(true);
    relay.cut();
    deployment.publish(&job("+447704000022", json!({}))).await;
    let act = json!({"id": uuid::Uuid::new_v4(), "verified": true});
    deployment.publish_bytes("feedback", act.to_string().as_bytes()).await;
    let ready = format!("http://{}/readyz", worker.ops);
    wait::until("the worker knows", async || deployment.get(&ready).await.1.contains("does not answer"))
        .await;
    wait::until("it holds both", async || deployment.waiting("otpost.dispatch").await == 0).await;
    let stopping = tokio::time::Instant::now();
    worker.stop().await;
    let duration = stopping.elapsed();
    assert!(
        duration < Duration::from_secs(20),
        "the grace period is only for work that can finish: {duration:?}"
    );
    deployment.until_waiting("otpost.dispatch", 2).await;
}

/// Fails if an expired code may be replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_replayed_and_dropped() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.amqp.users.insert("guest".to_owned(), vec!["default".to_owned()]);
    let strict = deployment.start(config, Roles::ALL).await;
    let (good, late) = ("+447704000031", "+447704000032");
    let first = deployment.publish(&job(good, json!({}))).await;
    let second = deployment.publish(&job(late, json!({"expires_at": in_seconds(2)}))).await;
    deployment.publish_bytes("dispatch", b"{").await;
    deployment.until_waiting("otpost.dead", 3).await;
    strict.stop().await;
    let file = deployment.config_file("dead");
    let otpost = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(args)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        assert!(
            !printed.contains("481516") && !printed.contains("7704000031"),
            "codes and numbers are masked: {printed}"
        );
        (out.status.code().unwrap(), printed)
    };
    let list = async || {
        let (code, printed) = otpost(&["dead", "list", "--json"]);
        assert_eq!(code, 0, "{printed}");
        let list: Value = serde_json::from_str(&printed).unwrap();
        let over = list.as_array().unwrap().iter().any(|l| l["id"] == json!(second) && l["expired"] == true);
        over.then_some((list, printed))
    };
    let (list, printed) = wait::answer("the second code expires", list).await;
    assert_eq!(list.as_array().unwrap().len(), 3, "{printed}");
    let of = |id: Value| list.as_array().unwrap().iter().find(|l| l["id"] == id).unwrap();
    let (waits, expired, broken) = (of(json!(first)), of(json!(second)), of(Value::Null));
    assert!(waits["reason"].as_str().unwrap().starts_with("user_id: "), "{printed}");
    assert_eq!(
        (&waits["expired"], &expired["expired"], &broken["expired"]),
        (&json!(false), &json!(true), &Value::Null)
    );
    let (code, printed) = otpost(&["dead", "show", expired["letter"].as_str().unwrap()]);
    assert!(code == 0 && printed.contains("not possible: its code has expired"), "{printed}");
    let (code, printed) = otpost(&["dead", "replay", "--all"]);
    assert!(code == 1 && printed.contains("its code has expired"), "{printed}");
    // A worker that checks no user ids accepts the replayed job.
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    deployment.until_state(first, "delivered").await;
    deployment.until_waiting("otpost.dead", 2).await;
    let (code, printed) = otpost(&["dead", "drop", expired["letter"].as_str().unwrap()]);
    assert!(code == 0 && printed.contains("1 dropped"), "{printed}");
    let (code, printed) = otpost(&["dead", "drop", "nothing"]);
    assert!(code == 1 && printed.contains("no such dead letter"), "{printed}");
    let (code, _) = otpost(&["dead", "drop", "--all"]);
    assert_eq!(code, 0);
    assert_eq!((deployment.waiting("otpost.dead").await, deployment.accepted(late).await), (0, 0));
    // A replayed message that is dead-lettered again is replayed only once per call.
    for _ in 0..3 {
        deployment.publish_bytes("dispatch", b"{").await;
    }
    deployment.until_waiting("otpost.dead", 3).await;
    let (code, printed) = otpost(&["dead", "replay", "--all"]);
    assert!(code == 0 && printed.contains("3 replayed, 0 left"), "{printed}");
    deployment.until_waiting("otpost.dead", 3).await;
    app.stop().await;
}

/// Messages that the broker dead-lettered for a former version are not sealed, and are shown unchanged.
///
/// Fails if reading removes the message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_without_our_seal_is_shown_and_stays() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let connection =
        Connection::connect(&deployment.amqp_url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let plain = job("+447704000041", json!({})).to_string();
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel
        .basic_publish(
            "otpost".into(),
            "dead-letter".into(),
            BasicPublishOptions::default(),
            plain.as_bytes(),
            properties,
        )
        .await
        .unwrap();
    deployment.until_waiting("otpost.dead", 1).await;
    let mut browse =
        QueueBrowser::dead(&otpost::broker::Nodes::parse(&deployment.amqp_url, None).unwrap()).await.unwrap();
    let found = browse.next().await.unwrap().unwrap();
    assert!(Envelope::open(&deployment.keys, "otpost.dead", &found.body).is_none());
    assert!(browse.next().await.unwrap().is_none());
    browse.close().await;
    deployment.until_waiting("otpost.dead", 1).await;
}
