//! Routing under load: rate limits, permits, circuit breakers.

use std::time::Duration;

use mock_gateway::Gateway;
use otpost::app::Roles;
use otpost::domain::channel::Channel;
use serde_json::json;

use crate::support::deployment::{Deployment, in_seconds, job};
use crate::support::relay::Relay;

/// Fails if a code waits for a carrier that refuses the account, although a call would reach the user. It would wait for 30 s, or until its
/// last chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_whose_carrier_refuses_the_account_yields_to_the_next_at_once() {
    let deployment = Deployment::build(Duration::from_millis(50)).await;
    let mut config = deployment.config(&["c1", "c2"]);
    config.routes.channels =
        [(Channel::Sms, vec!["c1".to_owned()]), (Channel::Voice, vec!["c2".to_owned()])].into();
    let app = deployment.start(config, Roles::ALL).await;
    deployment.script("+447701000301", json!(["unauthorized"])).await;
    let plan = || json!({"channels": ["sms", "voice"]});
    let since = tokio::time::Instant::now();
    let first = deployment.publish(&job("+447701000301", plan())).await;
    let d = deployment.until_state(first, "delivered").await;
    let carriers: Vec<&str> = d.attempts.iter().map(|a| a.carrier.as_str()).collect();
    assert_eq!(carriers, ["c1", "c2"]);
    // The breaker is open, so c1 gets no request.
    let id = deployment.publish(&job("+447701000302", plan())).await;
    let d = deployment.until_state(id, "delivered").await;
    assert_eq!(d.attempts.len(), 1, "no request at c1: {:?}", d.attempts);
    assert_eq!((d.attempts[0].carrier.as_str(), d.attempts[0].step), ("c2", 2));
    assert!(since.elapsed() < Duration::from_secs(10), "after {:?}", since.elapsed());
    app.stop().await;
}

/// A worker with four permits, a backlog of slow jobs, and one retry among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_does_not_block_a_retry() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.worker.slots = 4;
    let retried = "+447701000401";
    deployment.script(retried, json!(["unavailable"])).await;
    let id = deployment.publish(&job(retried, json!({}))).await;
    for n in 0..40 {
        let to = format!("+4477010{n:02}402");
        deployment.script(&to, json!([{"outcome": "slow", "ms": 1000}])).await;
        deployment.publish(&job(&to, json!({}))).await;
    }
    let app = deployment.start(config, Roles::ALL).await;
    let d = deployment.until_state(id, "delivered").await;
    let gap = d.attempts[1].begun_at.as_millisecond() - d.attempts[0].begun_at.as_millisecond();
    assert!(gap < 5000, "its back-off is a second at most: {gap} ms");
    app.stop().await;
}

/// A worker with four permits, and two hundred codes over HTTP before one over the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_alternate_with_the_brokers_jobs() {
    const BEFORE: usize = 200;
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let carrier = Relay::start(deployment.gateway.addr()).await;
    let mut config = deployment.config(&["c1"]);
    config.worker.slots = 4;
    let c1 = config.carriers.get_mut("c1").unwrap();
    c1.rate_per_s = 1000;
    c1.twilio.as_mut().unwrap().base_url = format!("http://{}", carrier.addr());
    let app = deployment.start(config, Roles::ALL).await;
    deployment.until_consumed().await;
    carrier.delay(Duration::from_millis(150));
    let jobs: Vec<_> = (0..BEFORE).map(|n| job(&format!("+4477010{n:03}44"), json!({}))).collect();
    // The lookup of an unknown API key is limited.
    assert_eq!(deployment.post(&app, &jobs[0]).await.0, 202);
    let answers = futures_util::future::join_all(jobs[1..].iter().map(|j| deployment.post(&app, j))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202), "{answers:?}");
    let to = "+447701000445";
    deployment.publish(&job(to, json!({}))).await;
    deployment.until_accepted(to, 1).await;
    let before = deployment.record("accepted", None).await.len();
    assert!(before < BEFORE / 2, "wake-ups and jobs alternate: {before} of {BEFORE} were before it");
    carrier.pass();
    app.stop().await;
}

/// A carrier gets at most its contracted rate, and a backlog uses all of it: no dispatch waits while there is
/// rate limit capacity.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accounts_rate_is_respected_and_used_fully() {
    const RATE: usize = 20;
    const JOBS: usize = 200;
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let mut config = deployment.config(&["c1"]);
    config.carriers.get_mut("c1").unwrap().rate_per_s = RATE as u32;
    let mut ids = vec![];
    for n in 0..JOBS {
        ids.push(deployment.publish(&job(&format!("+4477010{n:03}43"), json!({}))).await);
    }
    let app = deployment.start(config, Roles::ALL).await;
    for id in ids {
        deployment.until_state(id, "delivered").await;
    }
    let at: Vec<i64> = deployment
        .record("accepted", None)
        .await
        .iter()
        .map(|e| e["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond())
        .collect();
    assert_eq!(at.len(), JOBS);
    for first in &at {
        let within = at.iter().filter(|t| (*first..*first + 1000).contains(t)).count();
        assert!(within <= 2 * RATE, "a burst of {RATE}, and {RATE} more in a second: {within} in {at:?}");
    }
    let duration = at.iter().max().unwrap() - at.iter().min().unwrap();
    let due = (JOBS / RATE * 1000) as i64;
    assert!(duration < due + due / 2, "{JOBS} at {RATE} a second need {due} ms, and took {duration}");
    app.stop().await;
}

/// One of two carriers answers 503 to every request during a burst. The breaker opens, and only a few test
/// requests follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_opens_during_a_burst() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = Gateway::start(listener, mock_gateway::Config::default()).unwrap();
    let mut config = deployment.config(&["c1", "c2"]);
    let c1 = config.carriers.get_mut("c1").unwrap().twilio.as_mut().unwrap();
    c1.base_url = format!("http://{}", broken.addr());
    let app = deployment.start(config, Roles::ALL).await;
    // The last four digits make the carrier answer 503 to every request. At c2 a script overrides this.
    let numbers: Vec<String> = (0..120).map(|n| format!("+44770{n:03}0119")).collect();
    let mut ids = vec![];
    for (n, to) in numbers.iter().enumerate() {
        deployment.script(to, json!(["deliver"])).await;
        ids.push(deployment.publish(&job(to, json!({"expires_at": in_seconds(120)}))).await);
        if n == 60 {
            for id in &ids {
                deployment.until_state(*id, "delivered").await;
            }
        }
    }
    for id in ids {
        deployment.until_state(id, "delivered").await;
    }
    let requests = deployment.record_of(broken.addr(), "requests", None).await.len();
    assert!(
        (8..=64).contains(&requests),
        "eight failures open the breaker, and the burst of 61 had begun: {requests}"
    );
    broken.shutdown().await;
    app.stop().await;
}
