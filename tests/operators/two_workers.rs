//! Pauses and probes on two workers.

use std::time::{Duration, Instant};

use otpost::app::{App, Roles};
use otpost::domain::attempt::Attempt;
use otpost::http::{NewKey, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::deployment::{Deployment, FRONT_END, WORKER, job};
use crate::support::wait;
use crate::support::world::connect;

/// Returns the sum of a worker's admissions with this result.
async fn admissions(deployment: &Deployment, worker: &App, result: &str) -> u64 {
    let (_, text) = deployment.get(&format!("http://{}/metrics", worker.ops)).await;
    let line = format!("otpost_admissions_total{{door=\"amqp\",result=\"{result}\"}} ");
    text.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

async fn publish(deployment: &Deployment, from: u32, count: u32) -> Vec<(Uuid, String)> {
    let mut sent = vec![];
    for n in from..from + count {
        let to = format!("+4477090{n:05}");
        sent.push((deployment.publish(&job(&to, json!({}))).await, to));
    }
    sent
}

/// Fails if one of the workers learns of the pause later than after 2 s, or forgets it with a reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_carrier_gets_nothing_from_any_worker() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let config = deployment.config_behind(&front_end);
    let workers =
        [deployment.start(config.clone(), WORKER).await, deployment.start(config.clone(), WORKER).await];
    deployment.until_consumers(2).await;
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let act = async |verb: &str, body: Value| {
        let url = format!("http://{}/v1/carriers/c1/{verb}", front_end.api.unwrap());
        let key = format!("Bearer {}", operator.text);
        let (status, answer) =
            deployment.post_form(&url, &[("authorization", &key)], body.to_string().into_bytes()).await;
        assert_eq!(status, 200, "{verb}: {answer}");
    };
    for (id, _) in publish(&deployment, 31000, 2).await {
        deployment.until_state(id, "delivered").await;
    }

    act("pause", json!({"reason": "receipts are missing"})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let paused = publish(&deployment, 32000, 40).await;
    for (id, _) in &paused {
        deployment.until(*id, "admitted", |d| d.state.as_str() == "queued").await;
    }
    for worker in &workers {
        assert!(admissions(&deployment, worker, "queued").await > 0, "both workers have jobs");
        assert!(worker.reload(config.clone()).is_ok());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let requests = deployment.record("requests", None).await;
    assert_eq!(requests.len(), 2, "no request since the pause: {requests:?}");

    // Resumed, they are sent.
    act("resume", json!({})).await;
    for (id, _) in &paused {
        deployment.until_state(*id, "delivered").await;
    }

    // A pause with an end needs no resume.
    act("pause", json!({"reason": "a short one", "for_s": 3})).await;
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (id, to) = publish(&deployment, 33000, 1).await.remove(0);
    deployment.until_state(id, "delivered").await;
    assert!(since.elapsed() > Duration::from_secs(3), "after {:?}", since.elapsed());
    assert_eq!(deployment.accepted(&to).await, 1);
    for app in workers.into_iter().chain([front_end]) {
        app.stop().await;
    }
}

/// Fails if a worker sends a message of the paused country through the carrier, or one of another country not through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_is_paused_in_a_country_gets_only_other_countries_from_any_worker() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1", "c2"]);
    let front_end = deployment.start(config.clone(), FRONT_END).await;
    config.receipts.public_url = format!("http://{}", front_end.receipts.unwrap());
    let workers = [deployment.start(config.clone(), WORKER).await, deployment.start(config, WORKER).await];
    deployment.until_consumers(2).await;
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let url = format!("http://{}/v1/carriers/c1/pause", front_end.api.unwrap());
    let key = format!("Bearer {}", operator.text);
    let body = json!({"country": "ID", "reason": "loses texts"}).to_string().into_bytes();
    let (status, answer) = deployment.post_form(&url, &[("authorization", &key)], body).await;
    assert_eq!(status, 200, "{answer}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut sent = vec![];
    for n in 0..20 {
        for (number, carrier) in [(format!("+62812345021{n:02}"), "c2"), (format!("+4477090350{n:02}"), "c1")]
        {
            sent.push((deployment.publish(&job(&number, json!({}))).await, carrier));
        }
    }
    let mut through = [("c1", 0), ("c2", 0)];
    for (id, carrier) in sent {
        let d = deployment.until_state(id, "delivered").await;
        let carriers: Vec<&str> = d.attempts.iter().map(|attempt| attempt.carrier.as_str()).collect();
        // While the rate limit is divided among the workers, the other carrier may take a message to GB.
        assert!(
            carriers == [carrier] || carrier == "c1" && carriers == ["c2"],
            "{carriers:?} {:?}",
            d.order.country
        );
        through[usize::from(carriers == ["c2"])].1 += 1;
    }
    assert!(through[0].1 > 10, "c1 sends to GB: {through:?}");
    for worker in &workers {
        assert!(admissions(&deployment, worker, "sending").await > 0, "both workers have jobs");
    }
    for app in workers.into_iter().chain([front_end]) {
        app.stop().await;
    }
}

/// The commit of the attempt takes 2.2 s, and the carrier is paused meanwhile: everywhere, and in the country of the number.
///
/// Fails if a worker checks for a pause only when it chooses a carrier, or checks then only for one everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_stops_a_message_whose_commit_is_in_progress() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let worker = deployment.start(deployment.config(&["c1"]), Roles::ALL).await;
    deployment.until_consumed().await;
    let slow = "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(2.2); return new; end $$;
        create trigger slow before insert on dispatch for each row execute function slow()";
    let client = connect(&deployment.ledger_url).await;
    client.batch_execute(slow).await.unwrap();
    let under_way = "select 1 from pg_stat_activity where wait_event = 'PgSleep'";
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let act = async |verb: &str, body: Value| {
        let url = format!("http://{}/v1/carriers/c1/{verb}", worker.api.unwrap());
        let key = format!("Bearer {}", operator.text);
        let (status, answer) =
            deployment.post_form(&url, &[("authorization", &key)], body.to_string().into_bytes()).await;
        assert_eq!(status, 200, "{verb}: {answer}");
    };
    let outcomes = |attempts: &[Attempt]| {
        attempts.iter().map(|a| a.outcome.map(|o| (o.word(), o.detail()))).collect::<Vec<_>>()
    };
    let withheld = Some(("not_sent", Some("paused")));
    for (to, pause) in [
        ("+447709034000", json!({"reason": "a test"})),
        ("+447709034001", json!({"reason": "a test", "country": "GB"})),
    ] {
        let id = deployment.publish(&job(to, json!({}))).await;
        wait::until("the commit is under way", async || {
            !client.query(under_way, &[]).await.unwrap().is_empty()
        })
        .await;
        act("pause", pause.clone()).await;
        let held = deployment.until(id, "held back", |d| d.snoozed_until.is_some()).await;
        let accepted = deployment.accepted(to).await;
        assert_eq!((outcomes(&held.attempts), accepted), (vec![withheld], 0), "{pause}");
        act("resume", json!({})).await;
        let sent = deployment.until_state(id, "delivered").await;
        assert_eq!(outcomes(&sent.attempts), [withheld, Some(("accepted", None))], "{pause}");
    }
    worker.stop().await;
}

/// Fails if a probe does not reach the worker, which is another process than the one that took the request. Two refusals of the account
/// open the breaker for 10 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_lets_one_message_through_an_open_breaker() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let worker = deployment.start(deployment.config_behind(&front_end), WORKER).await;
    let operator = NewKey::make("*", &[Scope::Admin]);
    deployment.ledger.add_key(&operator.row).await.unwrap();
    let (refused, other) = ("+447709031000", "+447709031001");
    deployment.script(refused, json!(["unauthorized", "unauthorized"])).await;
    deployment.publish(&job(refused, json!({}))).await;
    let requests = async |to: &str| deployment.record("requests", Some(to)).await.len();
    wait::until("two requests", async || requests(refused).await == 2).await;
    let since = Instant::now();
    let id = deployment.publish(&job(other, json!({}))).await;
    let uid = deployment.until(id, "admitted", |d| d.snoozes > 0).await.order.uid;
    let post = async |path: &str| {
        let url = format!("http://{}/v1/{path}", front_end.api.unwrap());
        let key = format!("Bearer {}", operator.text);
        let (status, answer) = deployment.post_form(&url, &[("authorization", &key)], b"{}".to_vec()).await;
        assert_eq!(status, 200, "{path}: {answer}");
    };
    post("carriers/c1/probe").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    if requests(other).await + requests(refused).await == 2 {
        post(&format!("operator/dispatches/{uid}/retry")).await;
    }
    wait::until("a request", async || requests(other).await + requests(refused).await > 2).await;
    assert!(since.elapsed() < Duration::from_secs(8), "after {:?}", since.elapsed());
    deployment.until_state(id, "delivered").await;
    for app in [worker, front_end] {
        app.stop().await;
    }
}
