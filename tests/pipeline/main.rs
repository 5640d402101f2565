//! The traces of `docs/traces.md` end to end: jobs over the real RabbitMQ and over HTTP, rows in the real
//! PostgreSQL, texts and calls at the mock carrier, events on the real broker.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod account_callback;
mod acts;
mod commit_unknown;
mod expiry;
mod killed;
mod logs;
mod notice;
mod receipts;
mod routing;
mod superseded;
#[path = "../support/mod.rs"]
mod support;
mod unknown;
mod voice;

use std::time::Duration;

use otpost::app::Roles;
use otpost::intake::envelope::Envelope;
use serde_json::json;
use support::deployment::{Deployment, FRONT_END, WORKER, in_seconds, job};

/// One setup for all traces without faults. Each has its own numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_hold_end_to_end() {
    // No receipt arrives before the answer.
    let deployment = Deployment::build(Duration::from_millis(500)).await;
    let mut config = deployment.config(&["c1"]);
    config.limits.number = vec!["5/10m".parse().unwrap(), "10/1d".parse().unwrap()];
    let app = deployment.start(config, Roles::ALL).await;
    tokio::join!(
        a_text_is_delivered(&deployment),
        a_lost_wake_up_delays_a_dispatch_by_at_most_one_scan(&deployment),
        a_repeated_id_sends_once_and_other_content_is_a_conflict(&deployment, &app),
        the_sixth_job_of_a_number_is_limited(&deployment, &app),
        an_unavailable_carrier_is_retried(&deployment),
        throttled_for_longer_than_the_code_may_wait(&deployment),
        receipts::unknown_outcomes_and_their_receipts(&deployment),
        receipts::receipts_before_and_after_the_answer(&deployment),
        receipts::receipts_around_a_fallback(&deployment),
        superseded::a_newer_job_supersedes(&deployment, &app),
        expiry::in_a_backlog(&deployment, &app),
        voice::busy_no_answer_machine_and_answered(&deployment),
    );
    let (status, text) = deployment.get(&format!("http://{}/metrics", app.ops)).await;
    assert_eq!(status, 200);
    assert!(text.contains("otpost_states_total{state=\"delivered\"}"), "{text}");
    app.stop().await;
}

/// Trace 1.
async fn a_text_is_delivered(deployment: &Deployment) {
    let to = "+447701000001";
    let id = deployment.publish(&job(to, json!({"tags": {"flow": "login"}}))).await;
    let d = deployment.until_state(id, "delivered").await;
    deployment.until_events(id, &["sent 2", "delivered 4"]).await;
    assert_eq!(deployment.accepted(to).await, 1);
    assert_eq!((d.version, d.code.is_none(), d.holds_quota_uses), (4, true, true));
    let events = deployment.all_events();
    let event =
        events.iter().find(|e| e["data"]["id"] == json!(id) && e["data"]["state"] == "delivered").unwrap();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], json!(format!("{}/4", d.order.uid)));
    assert_eq!(event["data"]["tags"]["flow"], "login");
    assert_eq!(event["data"]["carrier"], "c1");
    let entry = &deployment.record("accepted", Some(to)).await[0];
    assert!((285..=300).contains(&entry["validity_s"].as_u64().unwrap()), "the remaining life: {entry}");
    deployment.until(id, "published", |d| d.pending_events.is_empty()).await;
}

/// Trace 2. The front end has no broker, so no wake-up reaches the worker: the due scan finds the row.
async fn a_lost_wake_up_delays_a_dispatch_by_at_most_one_scan(deployment: &Deployment) {
    let mut config = deployment.config(&["c1"]);
    config.amqp.url = None;
    let front_end = deployment.start(config, FRONT_END).await;
    let to = "+447701000002";
    let mut ids = vec![];
    for _ in 0..3 {
        let j = job(to, json!({}));
        let (status, body) = deployment.post(&front_end, &j).await;
        assert_eq!((status, body["state"].as_str()), (202, Some("queued")));
        ids.push(j["id"].as_str().unwrap().parse().unwrap());
    }
    for id in ids {
        let d = deployment.until_state(id, "delivered").await;
        let begun = d.attempts[0].begun_at.as_millisecond() - d.admitted_at.as_millisecond();
        assert!(begun < 2500, "a lost wake-up costs at most a scan: {begun} ms");
    }
    assert_eq!(deployment.accepted(to).await, 3);
    front_end.stop().await;
}

/// Trace 3.
async fn a_repeated_id_sends_once_and_other_content_is_a_conflict(
    deployment: &Deployment, app: &otpost::app::App,
) {
    let to = "+447701000003";
    let k = job(to, json!({"x_note": "own fields are let through"}));
    let mut l = k.clone();
    l["code"] = json!("999999");
    deployment.script(to, json!([{"outcome": "slow", "ms": 1500}])).await;
    let id = deployment.publish(&k).await;
    deployment.publish(&k).await;
    deployment.until(id, "in flight", |d| d.open_attempt().is_some()).await;
    let (status, body) = deployment.post(app, &k).await;
    assert_eq!((status, body["state"].as_str()), (200, Some("sending")), "{body}");
    deployment.until_state(id, "delivered").await;
    let mut later = k.clone();
    later["expires_at"] = in_seconds(400);
    assert_eq!(deployment.post(app, &later).await.0, 200);
    let (status, problem) = deployment.post(app, &l).await;
    assert_eq!((status, problem["type"].as_str()), (409, Some("https://otpost.io/problems/conflict")));
    deployment.publish(&l).await;
    let (field, reason, body) = deployment.dead_letter().await;
    assert_eq!((field.as_str(), reason.contains("conflict")), ("id", true));
    let opened = Envelope::open(&deployment.keys, "otpost.dead", &body).unwrap();
    assert_eq!((opened.routing_key.as_str(), opened.cut), ("dispatch", false));
    assert_eq!(*opened.body(), l.to_string().into_bytes());
    assert_eq!(deployment.accepted(to).await, 1);
    deployment.until_events(id, &["sent 2", "delivered 4"]).await;
}

/// Trace 4.
async fn the_sixth_job_of_a_number_is_limited(deployment: &Deployment, app: &otpost::app::App) {
    let to = "+447701000004";
    for n in 0..5 {
        if n == 4 {
            deployment.script(to, json!(["not_mobile"])).await;
        }
        let id = deployment.publish(&job(to, json!({}))).await;
        deployment.until_state(id, if n == 4 { "failed" } else { "delivered" }).await;
        if n == 4 {
            // The quota use of the landline was returned.
            deployment.until_events(id, &["failed 2"]).await;
        }
    }
    let fifth = deployment.publish(&job(to, json!({}))).await;
    deployment.until_state(fifth, "delivered").await;
    let sixth = deployment.publish(&job(to, json!({}))).await;
    deployment.until_state(sixth, "limited").await;
    deployment.until_events(sixth, &["limited 1"]).await;
    let (status, problem) = deployment.post(app, &job(to, json!({}))).await;
    assert_eq!(status, 429);
    assert!((560..=600).contains(&problem["retry_after_s"].as_u64().unwrap()), "{problem}");
    assert_eq!(deployment.accepted(to).await, 5);
}

/// Trace 5 b.
async fn an_unavailable_carrier_is_retried(deployment: &Deployment) {
    let to = "+447701000005";
    deployment.script(to, json!(["unavailable", "unavailable"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "delivered").await;
    let words: Vec<&str> = d.attempts.iter().map(|a| a.outcome.unwrap().word()).collect();
    assert_eq!(words, ["unavailable", "unavailable", "accepted"]);
    assert_eq!(deployment.accepted(to).await, 1);
    deployment.until_events(id, &["sent 6", "delivered 8"]).await;
}

/// Trace 6.
async fn throttled_for_longer_than_the_code_may_wait(deployment: &Deployment) {
    tokio::join!(
        throttled_beyond_the_last_possible_begin(deployment),
        fallback_before_the_last_possible_begin(deployment)
    );
}

async fn throttled_beyond_the_last_possible_begin(deployment: &Deployment) {
    let to = "+447701000006";
    deployment.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}, {"outcome": "throttle", "retry_after_s": 600}])).await;
    let id = deployment.publish(&job(to, json!({"expires_at": in_seconds(15)}))).await;
    let d = deployment.until_state(id, "expired").await;
    assert_eq!((d.attempts.len(), d.version, d.holds_quota_uses), (2, 4, false));
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!((2000..4500).contains(&gap), "the last possible begin is 12 s before the expiry: {gap} ms");
    deployment.until_events(id, &["expired 4"]).await;
    assert_eq!(deployment.accepted(to).await, 0);
}

/// Trace 6, row 6.
async fn fallback_before_the_last_possible_begin(deployment: &Deployment) {
    let to = "+447701000066";
    deployment.script(to, json!([{"outcome": "throttle", "retry_after_s": 600}])).await;
    let plan = json!({"channels": ["sms", "voice"], "fallback_after_s": 2, "expires_at": in_seconds(120)});
    let id = deployment.publish(&job(to, plan)).await;
    let d = deployment.until_state(id, "delivered").await;
    let tried: Vec<_> = d.attempts.iter().map(|a| (a.step, a.outcome.unwrap().word())).collect();
    assert_eq!(tried, [(1, "throttled"), (2, "accepted")]);
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(
        (2000..4500).contains(&gap),
        "the fallback time, not the last possible begin 108 s later: {gap} ms"
    );
    deployment.until_events(id, &["sent 4", "delivered 6"]).await;
    assert_eq!(deployment.accepted(to).await, 1, "only the call");
}

/// Trace 4 b: two workers, and a number without a quota row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_admit_no_more_than_the_rule() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let config = || {
        let mut config = deployment.config_behind(&front_end);
        config.limits.number = vec!["5/10m".parse().unwrap()];
        config
    };
    let workers = [deployment.start(config(), WORKER).await, deployment.start(config(), WORKER).await];
    deployment.until_consumers(2).await;
    let jobs: Vec<_> = (0..8).map(|_| job("+447701000044", json!({}))).collect();
    let ids = futures_util::future::join_all(jobs.iter().map(|j| deployment.publish(j))).await;
    let (mut sent, mut limited) = (0, 0);
    for id in ids {
        let d = deployment.until(id, "final", |d| d.state.is_final()).await;
        match (d.state.as_str(), d.version) {
            ("delivered", _) => sent += 1,
            ("limited", 1) => {
                limited += 1;
                deployment.until_events(id, &["limited 1"]).await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((sent, limited, deployment.accepted("+447701000044").await), (5, 3, 5));
    for worker in workers {
        let (_, metrics) = deployment.get(&format!("http://{}/metrics", worker.ops)).await;
        assert!(
            metrics.contains("otpost_admissions_total{door=\"amqp\""),
            "both workers admitted jobs: {metrics}"
        );
        worker.stop().await;
    }
    front_end.stop().await;
}

/// Trace 5 a.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_carrier_is_tried_at_once() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let app = deployment.start(deployment.config(&["c1", "c2"]), Roles::ALL).await;
    let to = "+447701000051";
    deployment.script(to, json!(["unavailable", "unavailable"])).await;
    let id = deployment.publish(&job(to, json!({}))).await;
    let d = deployment.until_state(id, "delivered").await;
    let carriers: Vec<&str> = d.attempts.iter().map(|a| a.carrier.as_str()).collect();
    assert_eq!(carriers, ["c1", "c2", "c1"]);
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(gap < 500, "the second request follows at once: {gap} ms");
    app.stop().await;
}
