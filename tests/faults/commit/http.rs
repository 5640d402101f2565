//! Trace 18 over HTTP: the first run was committed, its answer was lost, and the second run returns its
//! result.

use std::time::Duration;

use otpost::domain::attempt::State;
use serde_json::json;

use crate::checker::{self, Injected};
use crate::cluster::{Cluster, WORKER};
use crate::load::Sent;
use crate::support::deployment::job;
use crate::support::relay::{Direction, Relay};
use crate::support::wait;

/// The second run finds the rows of the first one, answers 200 instead of 202, and wakes a worker anyway. If
/// the first run was not committed, the second one is.
///
/// Fails if an answer of 200 wakes no worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_answered_over_http() {
    let mut cluster = Cluster::build(Duration::from_millis(20)).await;
    checker::listen(&cluster).await;
    let mut sent = vec![];
    let relay = Relay::start(cluster.postgres()).await;
    cluster.replacements.push((cluster.postgres().to_string(), relay.addr().to_string()));
    let _api = cluster.start("api", "api,receipts").await;
    cluster.replacements.clear();
    for (to, direction, pattern, expected) in [
        ("+447733000001", Direction::ToClient, "COMMIT", 200),
        ("+447733000002", Direction::ToUpstream, "commit -- admit", 202),
    ] {
        let mut job = job(to, json!({}));
        sent.push(Sent::by_hand(&mut job));
        let id = job["id"].as_str().unwrap();
        relay.cut_when(direction, pattern.as_bytes(), true);
        let api = cluster.api.to_string();
        let (status, answer) =
            cluster.deployment.post_bytes(&api, &cluster.deployment.key, job.to_string().into_bytes()).await;
        relay.triggered().await;
        assert_eq!((status, answer["state"].as_str()), (expected, Some("queued")), "{answer}");
        let id = id.parse().unwrap();
        let d = cluster.deployment.ledger.find("default", id).await.unwrap().unwrap();
        assert_eq!((d.state, d.version, d.quota_uses.len()), (State::Queued, 1, 1), "{d:#?}");
        assert_eq!(answer["uid"], json!(d.order.uid));
        // No worker runs yet, so the wake-up waits in the queue.
        wait::until("a wake-up is queued", async || checker::waiting(&cluster, "otpost.dispatch").await == 1)
            .await;
        let worker = cluster.start("w", WORKER).await;
        cluster.deployment.until_state(id, "delivered").await;
        assert_eq!(cluster.deployment.accepted(to).await, 1);
        checker::settle(&cluster, &sent, Duration::from_secs(30)).await;
        drop(worker);
    }
    checker::check(&cluster, &sent, Injected::default()).await;
}
