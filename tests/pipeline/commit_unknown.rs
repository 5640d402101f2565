//! Trace 18, row 5: the commit of an attempt is unknown for longer than the group is retried. The attempt's
//! claim shows the result, and an attempt that was not sent does not end as unknown.

use std::time::Duration;

use otpost::app::App;
use otpost::domain::clock::{between, now};
use otpost::domain::dispatch::Dispatch;
use serde_json::json;
use uuid::Uuid;

use crate::support::deployment::{Deployment, FRONT_END, WORKER, in_seconds, job};
use crate::support::relay::{Direction, Relay};

/// A time below the minimum life of a code: no request begins with less than ten seconds.
const TOO_LITTLE: Duration = Duration::from_secs(9);

/// A worker whose ledger connection has a relay, and a front end without one.
async fn parts(deployment: &Deployment) -> (App, App, Relay) {
    let relay = Relay::start(deployment.database().await).await;
    let front_end = deployment.start(deployment.config(&["c1"]), FRONT_END).await;
    let mut config = deployment.config_behind(&front_end);
    config.ledger.url = Some(deployment.ledger_by(&relay).into());
    // No deadline passes during the test.
    config.carriers.get_mut("c1").unwrap().time_out_s = 10;
    let worker = deployment.start(config, WORKER).await;
    deployment.until_consumed().await;
    (front_end, worker, relay)
}

/// The server commits, the answer is lost, and no connection works until the condition holds.
async fn is_away(deployment: &Deployment, relay: &Relay, id: Uuid, until: impl Fn(&Dispatch) -> bool) {
    relay.triggered().await;
    relay.refuse(true);
    deployment.until(id, "old enough", |d| until(d)).await;
    relay.refuse(false);
}

/// Returns the time since the first attempt began.
fn age(d: &Dispatch) -> Duration {
    between(d.attempts.first().map_or(now(), |a| a.begun_at), now())
}

fn outcomes(d: &Dispatch) -> Vec<&'static str> {
    d.attempts.iter().map(|a| a.outcome.map_or("open", |o| o.word())).collect()
}

/// Fails if a begin without an answer is not retried (its attempt ends as unknown).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_with_unknown_commit_is_sent_in_time_or_closed_as_not_sent() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (front_end, worker, relay) = parts(&deployment).await;
    for (to, away, expected) in [
        ("+447701000181", Duration::from_millis(1900), vec!["accepted"]),
        ("+447701000182", Duration::from_millis(4500), vec!["not_sent", "accepted"]),
    ] {
        relay.cut_when(Direction::ToClient, b"COMMIT", true);
        let j = job(to, json!({}));
        assert_eq!(deployment.post(&front_end, &j).await.0, 202);
        let id = j["id"].as_str().unwrap().parse().unwrap();
        is_away(&deployment, &relay, id, |d| age(d) > away).await;
        let d = deployment.until_state(id, "delivered").await;
        assert_eq!((outcomes(&d), deployment.accepted(to).await), (expected, 1), "away for {away:?}");
    }
    worker.stop().await;
    front_end.stop().await;
}

/// The job was admitted with its first begin. The row cannot be read when the worker learns that.
///
/// Fails if the row is read only once (its attempt ends as unknown).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_with_unknown_commit_does_not_end_as_unknown() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (front_end, worker, relay) = parts(&deployment).await;
    let to = "+447701000183";
    let j = job(to, json!({}));
    relay.cut_when(Direction::ToClient, b"COMMIT", true);
    let id = deployment.publish(&j).await;
    relay.triggered().await;
    relay.cut_when(Direction::ToUpstream, b"from dispatch d where d.uid = $1", true);
    relay.triggered().await;
    let d = deployment.until_state(id, "delivered").await;
    assert!(!outcomes(&d).contains(&"unknown"), "{d:?}");
    assert_eq!(deployment.accepted(to).await, 1);
    worker.stop().await;
    front_end.stop().await;
}

/// The same, but the code has expired when the worker learns that.
///
/// Fails if a known id with an expired code is ignored (it does not end within 90 s).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_with_unknown_commit_may_have_expired() {
    let deployment = Deployment::build(Duration::from_millis(20)).await;
    let (front_end, worker, relay) = parts(&deployment).await;
    let to = "+447701000184";
    let j = job(to, json!({"expires_at": in_seconds(13)}));
    relay.cut_when(Direction::ToClient, b"COMMIT", true);
    let id = deployment.publish(&j).await;
    is_away(&deployment, &relay, id, |d| between(now(), d.order.expires_at) < TOO_LITTLE).await;
    let d = deployment.until(id, "final", |d| d.state.is_final()).await;
    assert_eq!(
        (d.state.as_str(), outcomes(&d), deployment.accepted(to).await),
        ("expired", vec!["not_sent"], 0)
    );
    worker.stop().await;
    front_end.stop().await;
}
