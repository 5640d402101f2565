//! Acts on a dispatch, over RabbitMQ and HTTP: traces 13 and 14, and the next step.

use std::time::Duration;

use otpost::app::{App, Roles};
use otpost::domain::attempt::Reason;
use otpost::domain::dispatch::Dispatch;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::deployment::{Deployment, FRONT_END, WORKER, job};
use crate::support::relay::Relay;

/// The ingress of an act.
#[derive(Clone, Copy)]
enum Ingress<'a> {
    Http(&'a App),
    Amqp,
}

async fn act(deployment: &Deployment, ingress: Ingress<'_>, id: Uuid, verb: &str, body: Value) {
    match ingress {
        Ingress::Http(app) => {
            let (status, answer) = deployment.act(app, id, verb, &body).await;
            assert_eq!(status, 202, "{answer}");
        }
        Ingress::Amqp => {
            let mut body = body;
            body["id"] = json!(id);
            deployment.publish_bytes(verb, body.to_string().as_bytes()).await;
        }
    }
}

fn words(d: &Dispatch) -> Vec<&str> {
    d.attempts.iter().map(|a| a.outcome.map_or("open", |o| o.word())).collect()
}

const TEXT_THEN_CALL: [&str; 2] = ["sms", "voice"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_over_amqp_and_http() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let app = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    let (http, amqp) = (Ingress::Http(&app), Ingress::Amqp);
    tokio::join!(
        verified_before_the_fallback_time(&deployment, http, "+447701001301"),
        verified_before_the_fallback_time(&deployment, amqp, "+447701001302"),
        verified_while_the_call_is_made(&deployment, http),
        cancelled_during_an_open_attempt_and_accepted(&deployment, amqp),
        cancelled_during_an_open_attempt_and_unknown(&deployment, http),
        cancelled_during_back_off(&deployment, http, "+447701001407"),
        cancelled_during_back_off(&deployment, amqp, "+447701001408"),
        cancelled_while_it_waits_for_a_receipt(&deployment, http),
        cancelled_after_sent(&deployment, &app),
        cancelled_before_it_is_known(&deployment),
        called_instead(&deployment, &app),
        called_instead_by_amqp(&deployment),
        not_verified_changes_nothing(&deployment, &app),
    );
    app.stop().await;
}

/// Trace 13, rows 1 to 4.
async fn verified_before_the_fallback_time(deployment: &Deployment, ingress: Ingress<'_>, to: &str) {
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({"channels": TEXT_THEN_CALL, "fallback_after_s": 5}))).await;
    deployment.until_state(id, "sent").await;
    act(deployment, ingress, id, "feedback", json!({"verified": true})).await;
    let d = deployment.until(id, "stopped and decided", |d| d.version == 4).await;
    assert_eq!(d.wake_at, Some(d.order.expires_at), "the fallback time makes nothing due");
    deployment.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((d.version, d.attempts.len(), d.quota_uses.len()), (6, 1, 1));
    deployment.until_events(id, &["sent 2", "delivered 6"]).await;
    assert_eq!(deployment.accepted(to).await, 1, "no call");
}

/// Trace 13, row 7: a call that has begun cannot be recalled, but it says nothing. No attempt follows it.
async fn verified_while_the_call_is_made(deployment: &Deployment, ingress: Ingress<'_>) {
    let to = "+447701001307";
    deployment.script(to, json!(["silent", {"outcome": "slow", "ms": 1500}])).await;
    let plan = json!({"channels": ["sms", "voice", "sms"], "fallback_after_s": 1});
    let id = deployment.publish(&job(to, plan)).await;
    deployment.until(id, "calling", |d| d.attempts.len() == 2 && d.open_attempt().is_some()).await;
    act(deployment, ingress, id, "feedback", json!({"verified": true})).await;
    let d =
        deployment.until(id, "called in vain", |d| d.attempts[1].receipt_reason == Some(Reason::NoKey)).await;
    assert_eq!((d.attempts.len(), deployment.accepted(to).await), (2, 2));
}

/// Trace 14, rows 3 and 5.
async fn cancelled_during_an_open_attempt_and_accepted(deployment: &Deployment, ingress: Ingress<'_>) {
    let to = "+447701001405";
    deployment.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let id = deployment.publish(&job(to, json!({"channels": TEXT_THEN_CALL, "fallback_after_s": 2}))).await;
    deployment.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    act(deployment, ingress, id, "cancel", json!({})).await;
    let d = deployment.until(id, "marked", |d| d.stop.is_some()).await;
    assert_eq!(d.wake_at, d.open_attempt().map(|a| a.deadline), "the deadline of an open attempt stays");
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!(
        (d.attempts.len(), d.holds_quota_uses),
        (1, true),
        "the text was accepted, so its receipt determines the state"
    );
    deployment.until_events(id, &["sent 4", "delivered 6"]).await;
    assert_eq!(deployment.accepted(to).await, 1, "no call");
}

/// Trace 14, rows 3 and 6.
async fn cancelled_during_an_open_attempt_and_unknown(deployment: &Deployment, ingress: Ingress<'_>) {
    let to = "+447701001406";
    deployment.script(to, json!([{"outcome": "hold", "seconds": 60}])).await;
    let id = deployment.publish(&job(to, json!({"channels": TEXT_THEN_CALL}))).await;
    deployment.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    act(deployment, ingress, id, "cancel", json!({})).await;
    let d = deployment.until(id, "decided", |d| d.version == 4).await;
    assert_eq!((words(&d), d.state.as_str(), d.holds_quota_uses), (vec!["unknown"], "sending", true));
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no repeat");
}

/// Trace 14, row 7, with a carrier that answers with Retry-After.
async fn cancelled_during_back_off(deployment: &Deployment, ingress: Ingress<'_>, to: &str) {
    deployment.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let id = deployment.publish(&job(to, json!({"channels": ["sms"]}))).await;
    deployment.until(id, "put off", |d| d.attempts.first().is_some_and(|a| a.outcome.is_some())).await;
    act(deployment, ingress, id, "cancel", json!({})).await;
    let d = deployment.until_state(id, "cancelled").await;
    assert_eq!((d.version, d.holds_quota_uses, d.code, d.wake_at), (4, false, None, None));
    deployment.until_events(id, &["cancelled 4"]).await;
    assert_eq!(deployment.accepted(to).await, 0);
}

/// Trace 14, row 8.
async fn cancelled_while_it_waits_for_a_receipt(deployment: &Deployment, ingress: Ingress<'_>) {
    let to = "+447701001488";
    deployment.script(to, json!(["hang_up"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    deployment.until(id, "unknown", |d| words(d) == ["unknown"]).await;
    act(deployment, ingress, id, "cancel", json!({})).await;
    let d = deployment.until(id, "decided", |d| d.version == 4).await;
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no repeat");
    assert_eq!(deployment.accepted(to).await, 1);
}

/// Trace 14, rows 9 and 10.
async fn cancelled_after_sent(deployment: &Deployment, app: &App) {
    let to = "+447701001409";
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({"channels": TEXT_THEN_CALL, "fallback_after_s": 3}))).await;
    deployment.until_state(id, "sent").await;
    let (status, answer) = deployment.act(app, id, "cancel", &json!({})).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("sent")), "{answer}");
    let d = deployment.until(id, "decided", |d| d.version == 4).await;
    assert_eq!(d.wake_at, Some(d.order.expires_at), "no call");
    assert_eq!(deployment.act(app, id, "cancel", &json!({})).await.0, 200, "it was cancelled before");
    deployment.receipt(d.attempts[0].details.message_id.as_deref().unwrap(), "delivered").await;
    deployment.until_state(id, "delivered").await;
    let (status, problem) = deployment.act(app, id, "cancel", &json!({})).await;
    assert_eq!((status, problem["state"].as_str()), (409, Some("delivered")), "{problem}");
    assert_eq!(deployment.act(app, id, "feedback", &json!({"verified": true})).await.0, 200);
    // Unknown ids and invalid bodies.
    assert_eq!(deployment.act(app, Uuid::new_v4(), "cancel", &json!({})).await.0, 404);
    assert_eq!(deployment.act(app, id, "recall", &json!({})).await.0, 404);
    let (status, problem) = deployment.act(app, id, "feedback", &json!({"verified": "yes"})).await;
    assert_eq!((status, problem["field"].as_str()), (422, Some("verified")), "{problem}");
}

/// Trace 14, row 11: an act that arrives before its job, and an act for an unknown id.
async fn cancelled_before_it_is_known(deployment: &Deployment) {
    let to = "+447701001411";
    deployment.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let j = job(to, json!({}));
    deployment.publish_bytes("cancel", json!({"id": j["id"]}).to_string().as_bytes()).await;
    let id = deployment.publish(&j).await;
    deployment.until_state(id, "cancelled").await;
    deployment.publish_bytes("cancel", json!({"id": Uuid::new_v4()}).to_string().as_bytes()).await;
    deployment.publish_bytes("feedback", json!({"id": id}).to_string().as_bytes()).await;
    let mut dead = [deployment.dead_letter().await, deployment.dead_letter().await]
        .map(|(field, reason, _)| (field, reason));
    dead.sort();
    assert_eq!(dead[0], ("id".to_owned(), "is not known here".to_owned()));
    assert_eq!(dead[1], ("verified".to_owned(), "is missing".to_owned()));
}

async fn called_instead(deployment: &Deployment, app: &App) {
    let to = "+447701001501";
    deployment.script(to, json!(["silent", {"outcome": "slow", "ms": 1500}, "silent"])).await;
    let plan = json!({"channels": ["sms", "voice", "sms"], "fallback_after_s": 0});
    let id = deployment.publish(&job(to, plan)).await;
    deployment.until_state(id, "sent").await;
    let (status, answer) = deployment.act(app, id, "next", &json!({"step": 1})).await;
    assert_eq!(status, 202, "{answer}");
    deployment.until(id, "calling", |d| d.attempts.len() == 2 && d.open_attempt().is_some()).await;
    let (status, problem) = deployment.act(app, id, "next", &json!({})).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/pending")));
    assert_eq!(deployment.act(app, id, "next", &json!({"step": 1})).await.0, 200, "step 1 was over before");
    let d = deployment.until(id, "called", |d| d.attempts.len() == 2 && d.open_attempt().is_none()).await;
    if d.state.as_str() == "sent" {
        let (status, answer) = deployment.act(app, id, "next", &json!({"step": 2})).await;
        assert!(status == 202 || status == 409, "the call may be answered meanwhile: {answer}");
    }
    deployment.until_state(id, "delivered").await;
    assert_eq!(deployment.act(app, id, "next", &json!({})).await.0, 409, "it has ended");
}

async fn called_instead_by_amqp(deployment: &Deployment) {
    let to = "+447701001502";
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({"channels": TEXT_THEN_CALL, "fallback_after_s": 0}))).await;
    deployment.until_state(id, "sent").await;
    // A redelivered message names the step to leave, so the second delivery changes nothing.
    for _ in 0..2 {
        let body = json!({"id": id, "step": 1}).to_string();
        deployment.publish_bytes("next", body.as_bytes()).await;
    }
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!((d.attempts.len(), deployment.accepted(to).await), (2, 2));
}

async fn not_verified_changes_nothing(deployment: &Deployment, app: &App) {
    let to = "+447701001503";
    deployment.script(to, json!(["silent"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "sent").await;
    let (status, answer) = deployment.act(app, id, "feedback", &json!({"verified": false})).await;
    assert_eq!((status, answer["state"].as_str()), (200, Some("sent")));
    assert_eq!(deployment.until(id, "there", |_| true).await.version, d.version);
    let (_, metrics) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
    assert!(metrics.contains("otpost_acts_total{act=\"not_verified\",result=\"nothing\"} 1"), "{metrics}");
}

/// Trace 14, rows 2 and 4: before the begin, and during a request that is not accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_before_anything_was_accepted() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let j = job("+447701001402", json!({}));
    assert_eq!(deployment.post(&front_end, &j).await.0, 202);
    let queued: Uuid = j["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(deployment.act(&front_end, queued, "cancel", &json!({})).await.0, 202);

    let relay = Relay::start(deployment.gateway.addr()).await;
    relay.delay(Duration::from_millis(700));
    let mut config = deployment.config_behind(&front_end);
    let c1 = config.carriers.get_mut("c1").unwrap().twilio.as_mut().unwrap();
    c1.base_url = format!("http://{}", relay.addr());
    let worker = deployment.start(config, WORKER).await;
    let d = deployment.until_state(queued, "cancelled").await;
    assert_eq!((d.version, d.attempts.len(), d.holds_quota_uses), (3, 0, false));
    deployment.until_events(queued, &["cancelled 3"]).await;

    let to = "+447701001404";
    deployment.script(to, json!(["unavailable"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    deployment.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    assert_eq!(deployment.act(&front_end, id, "cancel", &json!({})).await.0, 202);
    let d = deployment.until_state(id, "cancelled").await;
    assert_eq!((words(&d), d.version, d.holds_quota_uses), (vec!["unavailable"], 4, false));
    deployment.until_events(id, &["cancelled 4"]).await;
    worker.stop().await;
    front_end.stop().await;
}

/// More acts for unknown ids than the prefetch holds, and jobs behind them.
///
/// Fails if all of these acts wait for their jobs inside the prefetch: the codes then wait 6 s for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_for_unknown_ids_delay_no_code() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let mut config = deployment.config_behind(&front_end);
    config.amqp.prefetch = 100;
    for _ in 0..150 {
        deployment.publish_bytes("cancel", json!({"id": Uuid::new_v4()}).to_string().as_bytes()).await;
    }
    let jobs: Vec<Value> = (0..20).map(|n| job(&format!("+4477010025{n:02}"), json!({}))).collect();
    for job in &jobs {
        deployment.publish(job).await;
    }
    let worker = deployment.start(config, WORKER).await;
    let began = std::time::Instant::now();
    for job in &jobs {
        deployment.until_state(job["id"].as_str().unwrap().parse().unwrap(), "delivered").await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "the codes took {:?}", began.elapsed());
    let mut reasons = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..150 {
        *reasons.entry(deployment.dead_letter().await.1).or_default() += 1;
    }
    assert_eq!(reasons["is not known here"], 64, "{reasons:?}");
    worker.stop().await;
    front_end.stop().await;
}

/// A broker user is bound to its tenants. RabbitMQ checks that a message's `user_id` belongs to its
/// connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_may_use_only_their_tenants_and_must_seal_if_required() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1"]);
    let sealed = otpost::config::TenantConfig { require_sealed: Some(true), ..Default::default() };
    config.tenants.insert("shop".to_owned(), sealed);
    config.amqp.users.insert("guest".to_owned(), vec!["shop".to_owned()]);
    let app = deployment.start(config, Roles::ALL).await;
    let to = "+447701001601";
    // Without a user_id, for another tenant, and for its own tenant in plain text.
    deployment.publish(&job(to, json!({}))).await;
    assert_eq!(deployment.dead_letter().await.0, "user_id");
    let plain = job(to, json!({}));
    deployment.publish_as("guest", "dispatch", plain.to_string().as_bytes()).await;
    assert_eq!(deployment.dead_letter().await.0, "tenant");
    let readable = job(to, json!({"tenant": "shop"}));
    deployment.publish_as("guest", "dispatch", readable.to_string().as_bytes()).await;
    assert_eq!(deployment.dead_letter().await.0, "sealed");
    let cancel = json!({"id": plain["id"], "tenant": "default"});
    deployment.publish_as("guest", "cancel", cancel.to_string().as_bytes()).await;
    assert_eq!(deployment.dead_letter().await.0, "tenant");
    // A correct job.
    let id = Uuid::new_v4();
    let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), Duration::from_secs(200));
    let secret = json!({"to": to, "code": "481516"}).to_string();
    let job = json!({"id": id, "tenant": "shop", "expires_at": expires_at,
                     "sealed": deployment.keys.seal_job("shop", id, expires_at, secret.as_bytes())});
    deployment.publish_as("guest", "dispatch", job.to_string().as_bytes()).await;
    deployment.until_accepted(to, 1).await;
    app.stop().await;
}
