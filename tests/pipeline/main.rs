//! The worked traces of the design end to end: jobs at the real RabbitMQ and over HTTP, rows in the real PostgreSQL,
//! texts and calls at the pretended carrier, events on the real broker.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod acts;
mod expiry;
mod killed;
mod room;
#[path = "../support/mod.rs"]
mod support;
mod voice;

use std::time::Duration;

use otpost::app::Roles;
use otpost::attempt::Outcome;
use otpost::envelope::Envelope;
use serde_json::json;
use support::house::{DOORS, House, in_seconds, job};

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
        expiry::in_a_backlog(&house, &app),
        voice::busy_no_answer_machine_and_answered(&house),
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
    let opened = Envelope::open(&house.keys, "otpost.dead", &body).unwrap();
    assert_eq!((opened.routing_key.as_str(), opened.cut), ("dispatch", false));
    assert_eq!(*opened.body(), l.to_string().into_bytes());
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
        let d = house.until_state(id, "delivered").await;
        assert_eq!(
            (d.wake_at, d.code),
            (None, None),
            "delivered in time: nobody looks at it again, no call can come"
        );
        assert_eq!(house.accepted(to).await, 1);
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
    let d = house.until_state(x, "delivered").await;
    assert_eq!((d.wake_at, d.code), (None, None), "never a call for the older one: nobody looks at it again");
    house.until_events(x, &["sent 4", "delivered 6"]).await;
    let older = house.publish(&sign_in("2026-01-01T00:00:00Z", json!({"code": "777777"}))).await;
    house.until_state(older, "superseded").await;
    house.until_events(older, &["superseded 1"]).await;
    assert_eq!(house.accepted(to).await, 2, "both texts");
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
