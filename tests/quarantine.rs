//! What is set aside on the broker: messages that come back again and again, dead letters, receipts while the ledger is away.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use otpost::app::Roles;
use otpost::broker::QueueBrowser;
use otpost::intake::envelope::Envelope;
use serde_json::{Value, json};
use support::house::{FRONT_END, House, WORKER, in_seconds, job};
use support::relay::Relay;
use support::wait;

/// Seen to fail: where what came back three times is read among others again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_back_too_often_is_read_alone_and_its_neighbours_are_sent() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut ids = vec![];
    for n in 0..5 {
        ids.push(house.publish(&job(&format!("+44770400000{n}"), json!({}))).await);
    }
    // Its reader would be killed by this one; here it only cannot be read.
    house.publish_bytes("dispatch", b"{\"poison\"").await;
    house.die_with_all_of("otpost.dispatch", 3).await;
    let fresh = house.publish(&job("+447704000009", json!({}))).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    for id in ids.into_iter().chain([fresh]) {
        house.until_state(id, "delivered").await;
    }
    assert_eq!(house.record("accepted", None).await.len(), 6, "each once");
    let (field, reason, body) = house.dead_letter().await;
    assert_eq!((field.as_str(), reason.starts_with("is not JSON")), ("body", true), "{reason}");
    assert_eq!(*Envelope::open(&house.keys, "otpost.dead", &body).unwrap().body(), b"{\"poison\"".to_vec());
    let (_, metrics) = house.get(&format!("http://{}/metrics", app.ops)).await;
    assert!(metrics.contains("otpost_admissions_total{door=\"amqp\",result=\"suspect\"} 6"), "{metrics}");
    assert_eq!((house.waiting("otpost.dispatch").await, house.waiting("otpost.suspect").await), (0, 0));
    app.stop().await;
}

/// Seen to fail: where suspects are read however often they came back (there is no dead letter).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_killed_its_reader_alone_is_never_read_again() {
    let house = House::build(Duration::from_millis(20)).await;
    let j = job("+447704000011", json!({}));
    let envelope = Envelope::new("dispatch", j.to_string().as_bytes(), usize::MAX);
    house.publish_bytes("suspect", &envelope.seal(&house.keys, "otpost.suspect")).await;
    house.die_with_all_of("otpost.suspect", 3).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let (field, reason, body) = house.dead_letter().await;
    assert_eq!((field.as_str(), reason.as_str()), ("body", "killed_reader"));
    let kept = Envelope::open(&house.keys, "otpost.dead", &body).unwrap();
    assert_eq!(*kept.body(), j.to_string().into_bytes(), "whole, and unread");
    assert_eq!(house.accepted("+447704000011").await, 0);
    // Something in that queue that is none of ours.
    house.publish_bytes("suspect", b"not sealed").await;
    assert!(house.dead_letter().await.1.contains("not sealed by us"));
    app.stop().await;
}

/// A defect in a reader, such as in a library that reads strangers' text, met by one message.
///
/// Seen to fail: where a panic ends the task that reads (the next one is not read).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_panics_over_a_message_reads_the_next_one() {
    let house = House::build(Duration::from_millis(20)).await;
    let poison = job("+447704000015", json!({"x_poison": true}));
    let (first, second) = ("+447704000012", "+447704000013");
    house.publish(&poison).await;
    house.publish(&job(first, json!({}))).await;
    let suspect = |j: &Value| {
        Envelope::new("dispatch", j.to_string().as_bytes(), usize::MAX).seal(&house.keys, "otpost.suspect")
    };
    house.publish_bytes("suspect", &suspect(&poison)).await;
    house.publish_bytes("suspect", &suspect(&job(second, json!({})))).await;
    let (file, variables) = (house.config_file("w"), [("OTPOST_PANIC_ON", "x_poison")]);
    let _worker = house.run_with(&file, "worker", "w", &variables);
    for to in [first, second] {
        house.until_accepted(to, 1).await;
    }
    for _ in 0..2 {
        let (field, reason, body) = house.dead_letter().await;
        assert_eq!((field.as_str(), reason.as_str()), ("body", "caused a panic while it was read"));
        let kept = Envelope::open(&house.keys, "otpost.dead", &body).unwrap();
        assert_eq!(*kept.body(), poison.to_string().into_bytes());
    }
    assert_eq!(house.accepted("+447704000015").await, 0);
}

/// Seen to fail: where the next one is read when the first one's carrier has answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_does_not_wait_for_the_carrier_of_the_one_before() {
    let house = House::build(Duration::from_millis(20)).await;
    let (hangs, to) = ("+447704000016", "+447704000017");
    house.script(hangs, json!([{"outcome": "hold", "seconds": 60}])).await;
    let jobs = [hangs, to].map(|to| job(to, json!({})));
    for j in &jobs {
        let envelope = Envelope::new("dispatch", j.to_string().as_bytes(), usize::MAX);
        house.publish_bytes("suspect", &envelope.seal(&house.keys, "otpost.suspect")).await;
    }
    let mut config = house.config(&["c1"]);
    config.carriers.get_mut("c1").unwrap().time_out_s = 10;
    let app = house.start(config, Roles::ALL).await;
    house.until_accepted(to, 1).await;
    let first = jobs[0]["id"].as_str().unwrap().parse().unwrap();
    let first = house.ledger.find("default", first).await.unwrap().unwrap();
    assert!(first.open_attempt().is_some(), "its carrier has not answered yet: {first:?}");
    app.stop().await;
}

/// Seen to fail: where a receipt that cannot be recorded now is refused (nothing waits).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_kept_while_the_ledger_is_away_and_recorded_when_it_is_back() {
    let house = House::build(Duration::from_millis(50)).await;
    let relay = Relay::start(house.database().await).await;
    // The queue itself may look empty: whoever consumed when the ledger went holds what comes.
    let kept = house.copy_of("receipt").await;
    let mut behind = house.config(&["c1"]);
    behind.ledger.url = Some(house.ledger_by(&relay).into());
    let front_end = house.start(behind, FRONT_END).await;
    let worker = house.start(house.config_behind(&front_end), WORKER).await;
    let to = "+447704000021";
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "sent").await;
    relay.refuse(true);
    relay.cut();
    let sid = d.attempts[0].details.message_id.clone().unwrap();
    house.receipt(&sid, "delivered").await;
    house.until_waiting(&kept, 1).await;
    let told = house.record("accepted", Some(to)).await;
    assert!(
        told[0]["callbacks"].to_string().contains("204"),
        "the carrier was answered 2xx: {}",
        told[0]["callbacks"]
    );
    assert_eq!(house.until(id, "there", |_| true).await.state.as_str(), "sent");
    relay.refuse(false);
    house.until_state(id, "delivered").await;
    house.until_events(id, &["sent 2", "delivered 4"]).await;
    worker.stop().await;
    front_end.stop().await;
}

/// Seen to fail: where the ledger is waited for whatever the process is told (it takes 65 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_ledger_goes_back_when_its_worker_stops() {
    let house = House::build(Duration::from_millis(20)).await;
    let relay = Relay::start(house.database().await).await;
    let mut config = house.config(&["c1"]);
    config.ledger.url = Some(house.ledger_by(&relay).into());
    config.worker.grace_s = 60;
    let worker = house.start(config, WORKER).await;
    house.until_consumed().await;
    relay.refuse(true);
    relay.cut();
    house.publish(&job("+447704000022", json!({}))).await;
    let act = json!({"id": uuid::Uuid::new_v4(), "verified": true});
    house.publish_bytes("feedback", act.to_string().as_bytes()).await;
    let ready = format!("http://{}/readyz", worker.ops);
    wait::until("the worker knows", async || house.get(&ready).await.1.contains("does not answer")).await;
    wait::until("it holds both", async || house.waiting("otpost.dispatch").await == 0).await;
    let stopping = tokio::time::Instant::now();
    worker.stop().await;
    let took = stopping.elapsed();
    assert!(took < Duration::from_secs(20), "its grace is for what can still end: {took:?}");
    house.until_waiting("otpost.dispatch", 2).await;
}

/// Seen to fail: where a code that has expired may be replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_replayed_and_dropped() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.amqp.users.insert("guest".to_owned(), vec!["default".to_owned()]);
    let strict = house.start(config, Roles::ALL).await;
    let (good, late) = ("+447704000031", "+447704000032");
    let first = house.publish(&job(good, json!({}))).await;
    let second = house.publish(&job(late, json!({"expires_at": in_seconds(2)}))).await;
    house.publish_bytes("dispatch", b"{").await;
    house.until_waiting("otpost.dead", 3).await;
    strict.stop().await;
    let file = house.config_file("dead");
    let otpost = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_otpost"))
            .args(args)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        assert!(
            !said.contains("481516") && !said.contains("7704000031"),
            "nothing is shown unmasked: {said}"
        );
        (out.status.code().unwrap(), said)
    };
    let list = async || {
        let (code, said) = otpost(&["dead", "list", "--json"]);
        assert_eq!(code, 0, "{said}");
        let list: Value = serde_json::from_str(&said).unwrap();
        let over = list.as_array().unwrap().iter().any(|l| l["id"] == json!(second) && l["expired"] == true);
        over.then_some((list, said))
    };
    let (list, said) = wait::answer("the second code expires", list).await;
    assert_eq!(list.as_array().unwrap().len(), 3, "{said}");
    let of = |id: Value| list.as_array().unwrap().iter().find(|l| l["id"] == id).unwrap();
    let (waits, expired, broken) = (of(json!(first)), of(json!(second)), of(Value::Null));
    assert!(waits["reason"].as_str().unwrap().starts_with("user_id: "), "{said}");
    assert_eq!(
        (&waits["expired"], &expired["expired"], &broken["expired"]),
        (&json!(false), &json!(true), &Value::Null)
    );
    let (code, said) = otpost(&["dead", "show", expired["letter"].as_str().unwrap()]);
    assert!(code == 0 && said.contains("not possible: its code has expired"), "{said}");
    let (code, said) = otpost(&["dead", "replay", "--all"]);
    assert!(code == 1 && said.contains("its code has expired"), "{said}");
    // Where every producer is trusted, it passes.
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    house.until_state(first, "delivered").await;
    house.until_waiting("otpost.dead", 2).await;
    let (code, said) = otpost(&["dead", "drop", expired["letter"].as_str().unwrap()]);
    assert!(code == 0 && said.contains("1 dropped"), "{said}");
    let (code, said) = otpost(&["dead", "drop", "nothing"]);
    assert!(code == 1 && said.contains("no such dead letter"), "{said}");
    let (code, _) = otpost(&["dead", "drop", "--all"]);
    assert_eq!(code, 0);
    assert_eq!((house.waiting("otpost.dead").await, house.accepted(late).await), (0, 0));
    // What dies again at once is replayed once, and not for ever.
    for _ in 0..3 {
        house.publish_bytes("dispatch", b"{").await;
    }
    house.until_waiting("otpost.dead", 3).await;
    let (code, said) = otpost(&["dead", "replay", "--all"]);
    assert!(code == 0 && said.contains("3 replayed, 0 left"), "{said}");
    house.until_waiting("otpost.dead", 3).await;
    app.stop().await;
}

/// What the broker itself let go of comes readable, as it was.
///
/// Seen to fail: where looking takes it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_not_ours_is_found_and_stays() {
    let house = House::build(Duration::from_millis(20)).await;
    let connection = Connection::connect(&house.amqp_url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let plain = job("+447704000041", json!({})).to_string();
    let properties = BasicProperties::default().with_delivery_mode(2);
    channel
        .basic_publish(
            "otpost".into(),
            "dead".into(),
            BasicPublishOptions::default(),
            plain.as_bytes(),
            properties,
        )
        .await
        .unwrap();
    house.until_waiting("otpost.dead", 1).await;
    let mut browse = QueueBrowser::dead(&house.amqp_url).await.unwrap();
    let found = browse.next().await.unwrap().unwrap();
    assert!(Envelope::open(&house.keys, "otpost.dead", &found.body).is_none());
    assert!(browse.next().await.unwrap().is_none());
    browse.close().await;
    house.until_waiting("otpost.dead", 1).await;
}
