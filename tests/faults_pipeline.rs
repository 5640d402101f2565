//! A thousand jobs and two workers, while the servers and workers around them fail. No job is lost, and
//! repeats occur only after unknown outcomes.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use otpost::app::Roles;
use serde_json::{Value, json};
use support::deployment::stopped_server::StoppedServer;
use support::deployment::{Deployment, FRONT_END, job};
use support::node::{Alarm, rabbitmqctl};
use support::wait;
use support::world::connect;

const JOBS: usize = 1000;

fn number(n: usize) -> String {
    format!("+44770{:07}", 2_000_000 + n)
}

/// Publishes all jobs. Skips numbers whose last four digits have a meaning for the mock carrier.
async fn publish_all(deployment: &Deployment) -> Vec<(uuid::Uuid, String)> {
    let numbers = (0..).map(number).filter(|n| !n.ends_with("01") || n.len() != 13).filter(|n| {
        let last: u32 = n[n.len() - 4..].parse().unwrap();
        !(101..=126).contains(&last)
    });
    let mut jobs = vec![];
    for to in numbers.take(JOBS) {
        let id = deployment.publish(&job(&to, json!({"fallback_after_s": 0}))).await;
        jobs.push((id, to));
    }
    jobs
}

/// Waits until every job is delivered. Returns for each how often it was repeated after an unknown outcome.
async fn all_delivered(deployment: &Deployment) -> BTreeMap<uuid::Uuid, i64> {
    let all = async || {
        // The connection may break with the server, so each query opens a new one.
        let look = connect_again(&deployment.ledger_url).await;
        let counts = "select count(*), count(*) filter (where state = 'delivered') from dispatch";
        let row = look.query_one(counts, &[]).await.ok()?;
        ((row.get::<_, i64>(0), row.get::<_, i64>(1)) == (JOBS as i64, JOBS as i64)).then_some(())
    };
    let all = wait::within(Duration::from_secs(150), all).await;
    let look = connect_again(&deployment.ledger_url).await;
    if all.is_none() {
        let sql = "select d.state || ', ' || d.snoozes || ' snoozes, ' || coalesce(d.n, 0) || ' attempts, ' || coalesce(d.outcome, 'open')
                          || ', ' || coalesce(d.receipt, 'no receipt') || ', wakes in ' || (d.wake_at - clock_timestamp())::text
                     from dispatch d where state <> 'delivered'";
        let left = look.query(sql, &[]).await.unwrap();
        let left: Vec<String> = left.iter().map(|r| r.get(0)).collect();
        // The last answers to the carrier's callbacks, if they were refused.
        let accepted = deployment.record("accepted", None).await;
        let callbacks: Vec<&Value> = accepted
            .iter()
            .map(|entry| &entry["callbacks"])
            .filter(|all| !all.to_string().contains("20"))
            .collect();
        let waiting = deployment.waiting("otpost.receipts").await;
        panic!("not delivered: {left:#?}; {waiting} receipts are queued; not taken: {callbacks:#?}");
    }
    // A repeat is allowed only after an unknown outcome.
    let sql = "select d.id, (d.repeats is not null)::int::int8
                      + (select count(a->>'repeats') from jsonb_array_elements(coalesce(d.earlier_attempts, '[]')::jsonb) a)
                   from dispatch d";
    let rows = look.query(sql, &[]).await.unwrap();
    rows.iter().map(|r| (r.get(0), r.get(1))).collect()
}

async fn connect_again(url: &str) -> tokio_postgres::Client {
    let connect = async || tokio_postgres::connect(url, tokio_postgres::NoTls).await.ok();
    let (client, connection) = wait::answer("PostgreSQL is back", connect).await;
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_send_each_of_a_thousand_jobs_once_with_its_receipt() {
    let mut deployment = Deployment::build(Duration::from_millis(20)).await;
    deployment.rate_per_s = 500;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let receipts = front_end.receipts.unwrap();
    let jobs = publish_all(&deployment).await;
    let _workers = [deployment.worker_process(receipts, "a"), deployment.worker_process(receipts, "b")];
    let repeats = all_delivered(&deployment).await;
    assert_eq!(repeats.values().sum::<i64>(), 0, "no attempt was repeated");
    let accepted = deployment.record("accepted", None).await;
    assert_eq!(accepted.len(), JOBS);
    let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &accepted {
        *texts.entry(entry["to"].as_str().unwrap()).or_default() += 1;
    }
    for (id, to) in &jobs {
        assert_eq!(texts.get(to.as_str()), Some(&1), "{id}");
    }
    let look = connect(&deployment.ledger_url).await;
    let sql = "select count(*), count(*) filter (where receipt = 'delivered' and message_id is not null and code is null)
                 from dispatch";
    let row = look.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (JOBS as i64, JOBS as i64));
    // The message ids in the ledger are those in the carrier's record.
    let kept: Vec<String> =
        look.query("select message_id from dispatch", &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
    for entry in &accepted {
        assert!(kept.iter().any(|k| entry["sid"] == json!(k)), "{entry}");
    }
    assert_eq!(deployment.waiting("otpost.dispatch").await, 0);
    front_end.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_when_workers_are_killed_and_services_restart() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let receipts = front_end.receipts.unwrap();
    let jobs = publish_all(&deployment).await;
    let a = deployment.worker_process(receipts, "a");
    let _b = deployment.worker_process(receipts, "b");
    let some = |n: usize| {
        let deployment = &deployment;
        async move {
            wait::until("accepted by the carrier", async || {
                deployment.record("accepted", None).await.len() >= n
            })
            .await;
        }
    };
    some(50).await;
    a.signal("KILL");
    let _c = deployment.worker_process(receipts, "c");
    some(200).await;
    rabbitmqctl(&["close_all_connections", "a test"]);
    some(400).await;
    let before = deployment.record("accepted", None).await.len();
    assert!(before < JOBS, "the workers are not finished yet: {before} of {JOBS}");
    let output = |line: &str| ["b", "c"].map(|name| deployment.log(name).matches(line).count());
    let both_say = async |line: &str, before: [usize; 2]| {
        wait::until(line, async || output(line).iter().zip(before).all(|(&now, before)| now > before)).await;
    };
    let postgres = StoppedServer::stop("postgres", "immediate");
    both_say("the ledger is unreachable", [0, 0]).await;
    drop(postgres);
    both_say("the ledger answers again", [0, 0]).await;
    // While both servers are away, a receipt can only be answered with 503, and the carrier repeats it for half a second.
    let ready = format!("http://{}/readyz", front_end.ops);
    wait::until("the front end's ledger answers", async || deployment.get(&ready).await.0 == 200).await;
    let before = output("no connection to RabbitMQ");
    let rabbitmq = StoppedServer::stop("rabbitmq", "kill");
    both_say("no connection to RabbitMQ", before).await;
    drop(rabbitmq);
    let repeats = all_delivered(&deployment).await;

    let accepted = deployment.record("accepted", None).await;
    let mut texts: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &accepted {
        *texts.entry(entry["to"].as_str().unwrap()).or_default() += 1;
    }
    let (mut doubled, mut explained) = (0, 0);
    for (id, to) in &jobs {
        let sent = texts.get(to.as_str()).copied().unwrap_or(0);
        let repeats = repeats[id];
        assert!(sent >= 1, "{id} was lost");
        assert!(sent <= 1 + repeats, "{id}: {sent} texts, and {repeats} repeats in the ledger");
        doubled += sent - 1;
        explained += repeats;
    }
    println!("{JOBS} jobs, {doubled} doubled, {explained} repeats after unknown outcomes in the ledger");
    assert!(doubled <= 512, "at most the messages that the killed worker held");
    front_end.stop().await;
}

/// There are more bad messages than permits, and the broker confirms no dead letter.
///
/// Fails if a dead letter that is being published holds a permit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_cannot_be_published_hold_no_permit() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.worker.slots = 16;
    for _ in 0..300 {
        deployment.publish_bytes("dispatch", b"{").await;
    }
    let alarm = Alarm::Memory.on();
    let app = deployment.start(config, Roles::ALL).await;
    deployment.until_consumed().await;
    let held = async || deployment.waiting("otpost.dispatch").await == 0;
    wait::until("all of them are held", held).await;
    let j = job("+447704000101", json!({}));
    let (status, output) = deployment.post(&app, &j).await;
    assert_eq!(status, 202, "{output}");
    let id = j["id"].as_str().unwrap().parse().unwrap();
    let delivered = async || {
        let found = deployment.ledger.find("default", id).await.unwrap();
        found.filter(|d| d.state.as_str() == "delivered")
    };
    assert!(
        wait::within(Duration::from_secs(15), delivered).await.is_some(),
        "the job waits behind the dead letters"
    );
    assert_eq!(deployment.waiting("otpost.dead").await, 0, "the broker has confirmed no dead letter");
    drop(alarm);
    deployment.until_waiting("otpost.dead", 300).await;
    app.stop().await;
}
