//! The worked traces of the design end to end: jobs at the real RabbitMQ and over HTTP, rows in the real PostgreSQL,
//! texts and calls at the pretended carrier, events on the real broker.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use otpost::app::Roles;
use otpost::attempt::Outcome;
use serde_json::json;
use support::house::{DOORS, House, WORKER, in_seconds, job};

/// One house for all traces that disturb nothing: each has numbers of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_hold_end_to_end() {
    let house = House::build(Duration::from_millis(100)).await;
    let mut config = house.config(&["c1"]);
    config.limits.number = vec!["5/10m".parse().unwrap(), "10/1d".parse().unwrap()];
    let app = house.start(config, Roles::ALL).await;
    tokio::join!(
        trace_1(&house),
        trace_2(&house),
        trace_3(&house, &app),
        trace_4(&house, &app),
        trace_5b(&house),
        trace_6(&house),
        trace_7(&house),
        trace_8(&house),
        trace_9(&house),
        trace_12(&house),
        trace_15(&house, &app),
        trace_20(&house),
    );
    let (status, text) = house.get(&format!("http://{}/metrics", app.ops)).await;
    assert_eq!(status, 200);
    assert!(text.contains("otpost_states_total{state=\"delivered\"}"), "{text}");
    app.stop().await;
}

async fn trace_1(house: &House) {
    let to = "+447701000001";
    let id = house.publish(&job(to, json!({"tags": {"flow": "login"}}))).await;
    let d = house.until_state(id, "delivered").await;
    house.until_events(id, &["sent 2", "delivered 4"]).await;
    assert_eq!(house.accepted(to).await, 1);
    assert_eq!((d.version, d.code.is_none(), d.slots_held), (4, true, true));
    let events = house.all_events();
    let event =
        events.iter().find(|e| e["data"]["id"] == json!(id) && e["data"]["state"] == "delivered").unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], json!(format!("{}/4", d.order.uid)));
    assert_eq!(event["data"]["tags"]["flow"], "login");
    assert_eq!(event["data"]["carrier"], "c1");
    let asked = &house.record("accepted", Some(to)).await[0];
    assert!((285..=300).contains(&asked["validity_s"].as_u64().unwrap()), "the remaining life: {asked}");
    house.until(id, "told", |d| d.owed.is_empty()).await;
}

/// The doors have no broker, so no wake-up reaches the worker: the due scan finds the row.
async fn trace_2(house: &House) {
    let mut config = house.config(&["c1"]);
    config.amqp.url = None;
    let doors = house.start(config, DOORS).await;
    let to = "+447701000002";
    let mut ids = vec![];
    for _ in 0..3 {
        let j = job(to, json!({}));
        let (status, body) = house.post(&doors, &j).await;
        assert_eq!((status, body["state"].as_str()), (202, Some("queued")));
        ids.push(j["id"].as_str().unwrap().parse().unwrap());
    }
    for id in ids {
        let d = house.until_state(id, "delivered").await;
        let begun = d.attempts[0].begun_at.as_millisecond() - d.born_at.as_millisecond();
        assert!(begun < 2500, "a lost wake-up costs at most a scan: {begun} ms");
    }
    assert_eq!(house.accepted(to).await, 3);
    doors.stop().await;
}

async fn trace_3(house: &House, app: &otpost::app::App) {
    let to = "+447701000003";
    let k = job(to, json!({"x_note": "own fields are let through"}));
    let mut l = k.clone();
    l["code"] = json!("999999");
    house.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let id = house.publish(&k).await;
    house.publish(&k).await;
    house.until(id, "in flight", |d| d.open().is_some()).await;
    let (status, body) = house.post(app, &k).await;
    assert_eq!((status, body["state"].as_str()), (200, Some("sending")), "{body}");
    house.until_state(id, "delivered").await;
    let mut later = k.clone();
    later["expires_at"] = in_seconds(400);
    assert_eq!(house.post(app, &later).await.0, 200);
    let (status, problem) = house.post(app, &l).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/conflict")));
    house.publish(&l).await;
    let (field, reason, body) = house.dead_letter().await;
    assert_eq!((field.as_str(), reason.contains("conflict")), ("id", true));
    let opened = house.keys.open_letter("otpost.dead", std::str::from_utf8(&body).unwrap()).unwrap();
    assert_eq!(*opened, l.to_string().into_bytes());
    assert_eq!(house.accepted(to).await, 1);
    house.until_events(id, &["sent 2", "delivered 4"]).await;
}

async fn trace_4(house: &House, app: &otpost::app::App) {
    let to = "+447701000004";
    for n in 0..5 {
        if n == 4 {
            house.script(to, json!(["not_mobile"])).await;
        }
        let id = house.publish(&job(to, json!({}))).await;
        house.until_state(id, if n == 4 { "failed" } else { "delivered" }).await;
        if n == 4 {
            // The slot of the landline came back.
            house.until_events(id, &["failed 2"]).await;
        }
    }
    let fifth = house.publish(&job(to, json!({}))).await;
    house.until_state(fifth, "delivered").await;
    let sixth = house.publish(&job(to, json!({}))).await;
    house.until_state(sixth, "limited").await;
    house.until_events(sixth, &["limited 1"]).await;
    let (status, problem) = house.post(app, &job(to, json!({}))).await;
    assert_eq!(status, 429);
    assert!((560..=600).contains(&problem["retry_after_s"].as_u64().unwrap()), "{problem}");
    assert_eq!(house.accepted(to).await, 5);
}

async fn trace_5b(house: &House) {
    let to = "+447701000005";
    house.script(to, json!(["unavailable", "unavailable"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "delivered").await;
    let words: Vec<&str> = d.attempts.iter().map(|a| a.outcome.unwrap().word()).collect();
    assert_eq!(words, ["unavailable", "unavailable", "accepted"]);
    assert_eq!(house.accepted(to).await, 1);
    house.until_events(id, &["sent 6", "delivered 8"]).await;
}

async fn trace_6(house: &House) {
    let to = "+447701000006";
    house.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}, {"outcome": "throttle", "retry_after_s": 600}])).await;
    let id = house.publish(&job(to, json!({"expires_at": in_seconds(15)}))).await;
    let d = house.until_state(id, "expired").await;
    assert_eq!((d.attempts.len(), d.version, d.slots_held), (2, 4, false));
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!((2000..4500).contains(&gap), "the last chance is 12 s before the end: {gap} ms");
    house.until_events(id, &["expired 4"]).await;
    assert_eq!(house.accepted(to).await, 0);
}

async fn trace_7(house: &House) {
    // a, b: a receipt proves what the answer did not say.
    let told = async {
        let to = "+447701000071";
        house.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
        let id = house.publish(&job(to, json!({}))).await;
        house.until(id, "unknown", |d| d.attempts[0].outcome == Some(Outcome::Unknown)).await;
        let sid = house.record("accepted", Some(to)).await[0]["sid"].as_str().unwrap().to_owned();
        house.receipt(&sid, "delivered").await;
        house.until_state(id, "delivered").await;
        house.until_events(id, &["sent 4", "delivered 5"]).await;
        assert_eq!(house.accepted(to).await, 1);
    };
    // c: no receipt: once more.
    let repeated = async {
        let to = "+447701000072";
        house.script(to, json!(["hang_up"])).await;
        let id = house.publish(&job(to, json!({}))).await;
        let d = house.until_state(id, "delivered").await;
        assert_eq!(d.attempts[1].repeats, Some(1));
        assert_eq!(house.accepted(to).await, 2);
        house.until_events(id, &["sent 4", "delivered 6"]).await;
    };
    // d: unknown twice: never a third time.
    let twice = async {
        let to = "+447701000073";
        house.script(to, json!(["hang_up", "hang_up", "deliver"])).await;
        let id = house.publish(&job(to, json!({}))).await;
        let d = house
            .until(id, "unknown twice", |d| d.attempts.len() == 2 && d.attempts[1].outcome.is_some())
            .await;
        assert_eq!(d.state.as_str(), "sending");
        assert_eq!(d.wake_at, Some(d.order.expires_at), "now only the code's end is awaited");
        assert_eq!(house.accepted(to).await, 2);
    };
    tokio::join!(told, repeated, twice);
}

async fn trace_8(house: &House) {
    let to = "+447701000008";
    house.script(to, json!(["late_delivery"])).await;
    let id = house.publish(&job(to, json!({"channels": ["sms", "voice"]}))).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 2, "the bad receipt brought the call at once");
    let fallback = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(fallback < 2000, "{fallback} ms");
    let events = house.events(id);
    assert_eq!(events[0], "sent 2");
    // A receipt that overtakes the answer.
    let to = "+447701000088";
    house.script(to, json!(["receipt_first"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), house.accepted(to).await), (1, 1));
    house.until(id, "with what the late answer said", |d| d.attempts[0].details.segments == Some(1)).await;
}

async fn trace_9(house: &House) {
    let silent = async {
        let to = "+447701000009";
        house.script(to, json!(["silent"])).await;
        let id = house.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 2}))).await;
        let d = house.until_state(id, "delivered").await;
        let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
        assert!((2000..4500).contains(&gap), "the call comes by time: {gap} ms");
        let asked = house.record("requests", None).await;
        let sid = d.attempts[0].details.reference.as_deref().unwrap();
        let read = asked
            .iter()
            .filter(|r| r["method"] == "GET" && r["path"].as_str().is_some_and(|p| p.contains(sid)));
        assert_eq!(read.count(), 1, "the carrier's status is asked once before a fallback by time alone");
        house.until_events(id, &["sent 2", "sent 4", "delivered 6"]).await;
    };
    let in_time = async {
        let to = "+447701000099";
        let id = house.publish(&job(to, json!({"channels": ["sms", "voice"], "fallback_after_s": 3}))).await;
        house.until_state(id, "delivered").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(house.accepted(to).await, 1, "delivered in time: no call");
    };
    tokio::join!(silent, in_time);
}

async fn trace_12(house: &House) {
    let to = "+447701000012";
    house.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let sign_in = |issued: &str, more: serde_json::Value| {
        let mut j = job(to, json!({"supersedes": "sign-in-12", "issued_at": issued}));
        for (name, value) in more.as_object().unwrap() {
            j[name] = value.clone();
        }
        j
    };
    let x = house
        .publish(&sign_in(
            "2026-01-01T00:00:01Z",
            json!({"channels": ["sms", "voice"], "fallback_after_s": 3}),
        ))
        .await;
    house.until(x, "in flight", |d| d.open().is_some()).await;
    let y = house.publish(&sign_in("2026-01-01T00:00:02Z", json!({"code": "999999"}))).await;
    house.until(x, "stopped", |d| d.stop.is_some()).await;
    house.until_state(y, "delivered").await;
    house.until_state(x, "delivered").await;
    house.until_events(x, &["sent 4", "delivered 6"]).await;
    let older = house.publish(&sign_in("2026-01-01T00:00:00Z", json!({"code": "777777"}))).await;
    house.until_state(older, "superseded").await;
    house.until_events(older, &["superseded 1"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(house.accepted(to).await, 2, "both texts, and never a call for the older one");
}

async fn trace_15(house: &House, app: &otpost::app::App) {
    let to = "+447701000015";
    let id = house.publish(&job(to, json!({"expires_at": in_seconds(5)}))).await;
    house.until_state(id, "expired").await;
    house.until_events(id, &["expired 1"]).await;
    let past = house.publish(&job(to, json!({"expires_at": "2026-01-01T00:00:00Z"}))).await;
    house.until_state(past, "expired").await;
    let (status, problem) = house.post(app, &job(to, json!({"expires_at": in_seconds(5)}))).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("expires_at")));
    assert_eq!(house.accepted(to).await, 0);
}

async fn trace_20(house: &House) {
    for (number, outcome, state, reason) in [
        ("+447701000201", json!("busy"), "undelivered", Some("busy")),
        ("+447701000202", json!("no_answer"), "undelivered", Some("no_answer")),
        ("+447701000203", json!("machine"), "undelivered", Some("machine")),
        ("+447701000204", json!("deliver"), "delivered", None),
    ] {
        house.script(number, json!([outcome])).await;
        let id = house.publish(&job(number, json!({"channels": ["voice"]}))).await;
        let d = house.until_state(id, state).await;
        assert_eq!(d.reason.map(otpost::attempt::Reason::as_str), reason);
        house.until_events(id, &["sent 2", &format!("{state} 4")]).await;
    }
    let spoken = &house.record("accepted", Some("+447701000204")).await[0]["transcript"];
    assert_eq!(spoken.as_str().unwrap().matches("4. 8. 1. 5. 1. 6.").count(), 3, "{spoken}");
    // A busy call is followed by a text at once; the fourth call within the hour is refused.
    let to = "+447701000205";
    house.script(to, json!(["busy"])).await;
    let id = house.publish(&job(to, json!({"channels": ["voice", "sms"]}))).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 2);
    for _ in 0..2 {
        let id = house.publish(&job(to, json!({"channels": ["voice"]}))).await;
        house.until(id, "begun", |d| !d.attempts.is_empty()).await;
    }
    let fourth = house.publish(&job(to, json!({"channels": ["voice"]}))).await;
    let d = house.until_state(fourth, "limited").await;
    assert_eq!(d.reason.map(otpost::attempt::Reason::as_str), Some("voice_quota"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_5a_the_next_carrier_is_asked_at_once() {
    let house = House::build(Duration::from_millis(50)).await;
    let app = house.start(house.config(&["c1", "c2"]), Roles::ALL).await;
    let to = "+447701000051";
    house.script(to, json!(["unavailable", "unavailable"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "delivered").await;
    let carriers: Vec<&str> = d.attempts.iter().map(|a| a.carrier.as_str()).collect();
    assert_eq!(carriers, ["c1", "c2", "c1"]);
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(gap < 500, "the second at once: {gap} ms");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_10_a_killed_workers_dispatches_are_finished_by_another() {
    let house = House::build(Duration::from_millis(50)).await;
    let doors = house.start(house.config(&["c1"]), DOORS).await;
    let victim = house.worker_process(doors.receipts.unwrap(), "victim");
    // b: the carrier accepted, the worker dies before it hears so; a receipt tells.
    let (told, silent) = ("+447701000101", "+447701000120");
    for to in [told, silent] {
        house.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    }
    let a = house.publish(&job(told, json!({}))).await;
    let b = house.publish(&job(silent, json!({}))).await;
    for to in [told, silent] {
        while house.accepted(to).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    victim.signal("KILL");
    let mut config = house.config(&["c1"]);
    config.receipts.public_url = format!("http://{}", doors.receipts.unwrap());
    let survivor = house.start(config, WORKER).await;
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
    doors.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_without_room_is_left_for_the_next_at_its_last_chance() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1", "c2"]);
    config.routes.sms = vec!["c1".to_owned()];
    config.routes.voice = vec!["c2".to_owned()];
    let app = house.start(config, Roles::ALL).await;
    // The account is refused: c1 is left alone for a while.
    house.script("+447701000301", json!(["unauthorized"])).await;
    let first = house.publish(&job("+447701000301", json!({}))).await;
    house.until(first, "refused", |d| d.attempts.first().is_some_and(|a| a.outcome.is_some())).await;
    let plan = json!({"channels": ["sms", "voice"], "expires_at": in_seconds(14)});
    let id = house.publish(&job("+447701000302", plan)).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 1, "no request at c1: {:?}", d.attempts);
    assert_eq!((d.attempts[0].carrier.as_str(), d.attempts[0].step), ("c2", 2));
    app.stop().await;
}

/// A worker of four slots, a backlog of slow jobs, and one retry among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_not_shut_out_by_a_backlog() {
    let house = House::build(Duration::from_millis(20)).await;
    let mut config = house.config(&["c1"]);
    config.worker.slots = 4;
    let retried = "+447701000401";
    house.script(retried, json!(["unavailable"])).await;
    let id = house.publish(&job(retried, json!({}))).await;
    for n in 0..40 {
        let to = format!("+4477010{n:02}402");
        house.script(&to, json!([{"outcome": "slow", "ms": 1000}])).await;
        house.publish(&job(&to, json!({}))).await;
    }
    let app = house.start(config, Roles::ALL).await;
    let d = house.until_state(id, "delivered").await;
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(gap < 5000, "its back-off is a second at most: {gap} ms");
    app.stop().await;
}
