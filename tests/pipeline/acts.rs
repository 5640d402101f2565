//! What a sender does afterwards, over RabbitMQ and HTTP: traces 13 and 14, and the next step.

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::house::{FRONT_END, House, WORKER, job};
use crate::support::relay::Relay;

/// By which door an act comes.
#[derive(Clone, Copy)]
enum Ingress<'a> {
    Http(&'a App),
    Amqp,
}

async fn act(house: &House, door: Ingress<'_>, id: Uuid, verb: &str, body: Value) {
    match door {
        Ingress::Http(app) => {
            let (status, answer) = house.act(app, id, verb, &body).await;
            assert_eq!(status, 202, "{answer}");
        }
        Ingress::Amqp => {
            let mut body = body;
            body["id"] = json!(id);
            house.publish_bytes(verb, body.to_string().as_bytes()).await;
        }
    }
}

fn words(d: &Dispatch) -> Vec<&str> {
    d.attempts.iter().map(|a| a.outcome.map_or("open", |o| o.word())).collect()
}

const CALL_NEXT: [&str; 2] = ["sms", "voice"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_over_both_doors() {
    let house = House::build(Duration::from_millis(50)).await;
    let app = house.start(house.config(&["c1"]), Roles::ALL).await;
    let (http, amqp) = (Ingress::Http(&app), Ingress::Amqp);
    tokio::join!(
        verified_while_a_timer_runs(&house, http, "+447701001301"),
        verified_while_a_timer_runs(&house, amqp, "+447701001302"),
        verified_while_the_call_is_made(&house, http),
        cancelled_in_flight_and_accepted(&house, amqp),
        cancelled_in_flight_and_unknown(&house, http),
        cancelled_while_put_off(&house, http, "+447701001407"),
        cancelled_while_put_off(&house, amqp, "+447701001408"),
        cancelled_while_it_waits_for_a_receipt(&house, http),
        cancelled_after_sent(&house, &app),
        cancelled_before_it_is_known(&house),
        called_instead(&house, &app),
        called_instead_by_amqp(&house),
        not_verified_changes_nothing(&house, &app),
    );
    app.stop().await;
}

/// Trace 13, rows 1 to 4.
async fn verified_while_a_timer_runs(house: &House, door: Ingress<'_>, to: &str) {
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({"channels": CALL_NEXT, "fallback_after_s": 5}))).await;
    house.until_state(id, "sent").await;
    act(house, door, id, "feedback", json!({"verified": true})).await;
    let d = house.until(id, "stopped and decided", |d| d.version == 4).await;
    assert_eq!(d.wake_at, Some(d.order.expires_at), "nothing is due when the fallback's time comes");
    house.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.version, d.attempts.len(), d.quota_uses.len()), (6, 1, 1));
    house.until_events(id, &["sent 2", "delivered 6"]).await;
    assert_eq!(house.accepted(to).await, 1, "no call");
}

/// Trace 13, row 7: a call that has begun cannot be recalled, and nothing follows it.
async fn verified_while_the_call_is_made(house: &House, door: Ingress<'_>) {
    let to = "+447701001307";
    house.script(to, json!(["silent", {"outcome": "slow", "ms": 1500}])).await;
    let plan = json!({"channels": ["sms", "voice", "sms"], "fallback_after_s": 1});
    let id = house.publish(&job(to, plan)).await;
    house.until(id, "calling", |d| d.attempts.len() == 2 && d.open_attempt().is_some()).await;
    act(house, door, id, "feedback", json!({"verified": true})).await;
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), house.accepted(to).await), (2, 2));
}

/// Trace 14, rows 3 and 5.
async fn cancelled_in_flight_and_accepted(house: &House, door: Ingress<'_>) {
    let to = "+447701001405";
    house.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let id = house.publish(&job(to, json!({"channels": CALL_NEXT, "fallback_after_s": 2}))).await;
    house.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    act(house, door, id, "cancel", json!({})).await;
    let d = house.until(id, "marked", |d| d.stop.is_some()).await;
    assert_eq!(d.wake_at, d.open_attempt().map(|a| a.deadline), "an open attempt's deadline stays");
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), d.holds_quota_uses), (1, true), "it was accepted: the receipt decides");
    house.until_events(id, &["sent 4", "delivered 6"]).await;
    assert_eq!(house.accepted(to).await, 1, "no call");
}

/// Trace 14, rows 3 and 6.
async fn cancelled_in_flight_and_unknown(house: &House, door: Ingress<'_>) {
    let to = "+447701001406";
    house.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    let id = house.publish(&job(to, json!({"channels": CALL_NEXT}))).await;
    house.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    act(house, door, id, "cancel", json!({})).await;
    let d = house.until(id, "decided", |d| d.version == 4).await;
    assert_eq!((words(&d), d.state.as_str(), d.holds_quota_uses), (vec!["unknown"], "sending", true));
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no repeat");
}

/// Trace 14, row 7, with a carrier that asks for patience.
async fn cancelled_while_put_off(house: &House, door: Ingress<'_>, to: &str) {
    house.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let id = house.publish(&job(to, json!({"channels": ["sms"]}))).await;
    house.until(id, "put off", |d| d.attempts.first().is_some_and(|a| a.outcome.is_some())).await;
    act(house, door, id, "cancel", json!({})).await;
    let d = house.until_state(id, "cancelled").await;
    assert_eq!((d.version, d.holds_quota_uses, d.code, d.wake_at), (4, false, None, None));
    house.until_events(id, &["cancelled 4"]).await;
    assert_eq!(house.accepted(to).await, 0);
}

/// Trace 14, row 8.
async fn cancelled_while_it_waits_for_a_receipt(house: &House, door: Ingress<'_>) {
    let to = "+447701001488";
    house.script(to, json!(["hang_up"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    house.until(id, "unknown", |d| words(d) == ["unknown"]).await;
    act(house, door, id, "cancel", json!({})).await;
    let d = house.until(id, "decided", |d| d.version == 4).await;
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no repeat");
    assert_eq!(house.accepted(to).await, 1);
}

/// Trace 14, rows 9 and 10.
async fn cancelled_after_sent(house: &House, app: &App) {
    let to = "+447701001409";
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({"channels": CALL_NEXT, "fallback_after_s": 3}))).await;
    house.until_state(id, "sent").await;
    let (status, answer) = house.act(app, id, "cancel", &json!({})).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("sent")), "{answer}");
    let d = house.until(id, "decided", |d| d.version == 4).await;
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no call");
    assert_eq!(house.act(app, id, "cancel", &json!({})).await.0, 200, "it stood before");
    house.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    house.until_state(id, "delivered").await;
    let (status, problem) = house.act(app, id, "cancel", &json!({})).await;
    assert_eq!((status, problem["state"].as_str()), (409, Some("delivered")), "{problem}");
    assert_eq!(house.act(app, id, "feedback", &json!({"verified": true})).await.0, 200);
    // Strangers, and what cannot be read.
    assert_eq!(house.act(app, Uuid::new_v4(), "cancel", &json!({})).await.0, 404);
    assert_eq!(house.act(app, id, "recall", &json!({})).await.0, 404);
    let (status, problem) = house.act(app, id, "feedback", &json!({"verified": "yes"})).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("verified")), "{problem}");
}

/// Trace 14, row 11: an act that overtakes its job, and one for nobody.
async fn cancelled_before_it_is_known(house: &House) {
    let to = "+447701001411";
    house.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let j = job(to, json!({}));
    house.publish_bytes("cancel", json!({"id": j["id"]}).to_string().as_bytes()).await;
    let id = house.publish(&j).await;
    house.until_state(id, "cancelled").await;
    house.publish_bytes("cancel", json!({"id": Uuid::new_v4()}).to_string().as_bytes()).await;
    house.publish_bytes("feedback", json!({"id": id}).to_string().as_bytes()).await;
    let mut dead =
        [house.dead_letter().await, house.dead_letter().await].map(|(field, reason, _)| (field, reason));
    dead.sort();
    assert_eq!(dead[0], ("id".to_owned(), "is not known here".to_owned()));
    assert_eq!(dead[1], ("verified".to_owned(), "is missing".to_owned()));
}

async fn called_instead(house: &House, app: &App) {
    let to = "+447701001501";
    house.script(to, json!(["silent", {"outcome": "slow", "ms": 1500}, "silent"])).await;
    let plan = json!({"channels": ["sms", "voice", "sms"], "fallback_after_s": 0});
    let id = house.publish(&job(to, plan)).await;
    house.until_state(id, "sent").await;
    let (status, answer) = house.act(app, id, "next", &json!({"step": 1})).await;
    assert_eq!(status, 202, "{answer}");
    house.until(id, "calling", |d| d.attempts.len() == 2 && d.open_attempt().is_some()).await;
    let (status, problem) = house.act(app, id, "next", &json!({})).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/pending")));
    assert_eq!(house.act(app, id, "next", &json!({"step": 1})).await.0, 200, "step 1 was left before");
    let d = house.until(id, "called", |d| d.attempts.len() == 2 && d.open_attempt().is_none()).await;
    if d.state.as_str() == "sent" {
        let (status, answer) = house.act(app, id, "next", &json!({"step": 2})).await;
        assert!(status == 202 || status == 409, "the call may be answered meanwhile: {answer}");
    }
    house.until_state(id, "delivered").await;
    assert_eq!(house.act(app, id, "next", &json!({})).await.0, 409, "it has ended");
}

async fn called_instead_by_amqp(house: &House) {
    let to = "+447701001502";
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({"channels": CALL_NEXT, "fallback_after_s": 0}))).await;
    house.until_state(id, "sent").await;
    // A redelivered message names the step that is to be left, and so does nothing the second time.
    for _ in 0..2 {
        let body = json!({"id": id, "step": 1}).to_string();
        house.publish_bytes("next", body.as_bytes()).await;
    }
    let d = house.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), house.accepted(to).await), (2, 2));
}

async fn not_verified_changes_nothing(house: &House, app: &App) {
    let to = "+447701001503";
    house.script(to, json!(["silent"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    let d = house.until_state(id, "sent").await;
    let (status, answer) = house.act(app, id, "feedback", &json!({"verified": false})).await;
    assert_eq!((status, answer["state"].as_str()), (200, Some("sent")));
    assert_eq!(house.until(id, "there", |_| true).await.version, d.version);
    let (_, metrics) = house.get(&format!("http://{}/metrics", app.ops)).await;
    assert!(metrics.contains("otpost_acts_total{act=\"not_verified\",result=\"nothing\"} 1"), "{metrics}");
}

/// Trace 14, rows 2 and 4: before a worker has begun, and while a request is under way that is not taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_before_anything_was_accepted() {
    let house = House::build(Duration::from_millis(50)).await;
    let front_end = house.start(house.config(&["c1"]), FRONT_END).await;
    let j = job("+447701001402", json!({}));
    assert_eq!(house.post(&front_end, &j).await.0, 202);
    let queued: Uuid = j["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(house.act(&front_end, queued, "cancel", &json!({})).await.0, 202);

    let relay = Relay::start(house.gateway.addr()).await;
    relay.delay(Duration::from_millis(700));
    let mut config = house.config_behind(&front_end);
    let c1 = config.carriers.get_mut("c1").unwrap().twilio.as_mut().unwrap();
    c1.base_url = format!("http://{}", relay.addr());
    let worker = house.start(config, WORKER).await;
    let d = house.until_state(queued, "cancelled").await;
    assert_eq!((d.version, d.attempts.len(), d.holds_quota_uses), (3, 0, false));
    house.until_events(queued, &["cancelled 3"]).await;

    let to = "+447701001404";
    house.script(to, json!(["unavailable"])).await;
    let id = house.publish(&job(to, json!({}))).await;
    house.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    assert_eq!(house.act(&front_end, id, "cancel", &json!({})).await.0, 202);
    let d = house.until_state(id, "cancelled").await;
    assert_eq!((words(&d), d.version, d.holds_quota_uses), (vec!["unavailable"], 4, false));
    house.until_events(id, &["cancelled 4"]).await;
    worker.stop().await;
    front_end.stop().await;
}

/// A broker user is tied to its tenants; RabbitMQ checks that a message's `user_id` is its connection's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_speak_for_their_own_tenants_and_seal_where_they_must() {
    let house = House::build(Duration::from_millis(50)).await;
    let mut config = house.config(&["c1"]);
    let sealed = otpost::config::TenantConfig { require_sealed: Some(true), ..Default::default() };
    config.tenants.insert("shop".to_owned(), sealed);
    config.amqp.users.insert("guest".to_owned(), vec!["shop".to_owned()]);
    let app = house.start(config, Roles::ALL).await;
    let to = "+447701001601";
    // Without a user_id; for another tenant; for its own, but readable.
    house.publish(&job(to, json!({}))).await;
    assert_eq!(house.dead_letter().await.0, "user_id");
    let plain = job(to, json!({}));
    house.publish_as("guest", "dispatch", plain.to_string().as_bytes()).await;
    assert_eq!(house.dead_letter().await.0, "tenant");
    let readable = job(to, json!({"tenant": "shop"}));
    house.publish_as("guest", "dispatch", readable.to_string().as_bytes()).await;
    assert_eq!(house.dead_letter().await.0, "sealed");
    let cancel = json!({"id": plain["id"], "tenant": "default"});
    house.publish_as("guest", "cancel", cancel.to_string().as_bytes()).await;
    assert_eq!(house.dead_letter().await.0, "tenant");
    // As it should be.
    let id = Uuid::new_v4();
    let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(200));
    let secret = json!({"to": to, "code": "481516"}).to_string();
    let job = json!({"id": id, "tenant": "shop", "expires_at": expires_at,
                     "sealed": house.keys.seal_job("shop", id, expires_at, secret.as_bytes())});
    house.publish_as("guest", "dispatch", job.to_string().as_bytes()).await;
    house.until_accepted(to, 1).await;
    app.stop().await;
}
