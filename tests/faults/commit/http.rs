//! Trace 18 over HTTP: the run whose answer was lost had come through, and the caller hears of it from the second one.

use std::time::Duration;

use otpost::domain::attempt::State;
use serde_json::json;

use crate::checker::{self, Injected};
use crate::load::Sent;
use crate::site::{Site, WORKER};
use crate::support::house::job;
use crate::support::relay::{Direction, Relay};
use crate::support::wait;

/// The second run finds what the first one has written, answers 200 with its state instead of 202, and wakes a worker all the
/// same; where the first one was never heard, the second is the first.
///
/// Seen to fail: where an answer of 200 wakes nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_answered_over_http() {
    let mut site = Site::build(Duration::from_millis(20)).await;
    checker::listen(&site).await;
    let mut sent = vec![];
    let relay = Relay::start(site.postgres()).await;
    site.instead.push((site.postgres().to_string(), relay.addr().to_string()));
    let _api = site.start("api", "api,receipts").await;
    site.instead.clear();
    for (to, before_forwarding, expected) in [("+447733000001", false, 200), ("+447733000002", true, 202)] {
        let mut job = job(to, json!({}));
        sent.push(Sent::by_hand(&mut job));
        let id = job["id"].as_str().unwrap();
        relay.cut_when(Direction::ToUpstream, id.as_bytes(), before_forwarding);
        let api = site.api.to_string();
        let (status, answer) =
            site.house.post_bytes(&api, &site.house.key, job.to_string().into_bytes()).await;
        relay.sprung().await;
        assert_eq!((status, answer["state"].as_str()), (expected, Some("queued")), "{answer}");
        let id = id.parse().unwrap();
        let d = site.house.ledger.find("default", id).await.unwrap().unwrap();
        assert_eq!((d.state, d.version, d.quota_uses.len()), (State::Queued, 1, 1), "{d:#?}");
        assert_eq!(answer["uid"], json!(d.order.uid));
        // Nobody works here yet: the wake-up waits in the queue.
        wait::until("a worker is called", async || checker::waiting(&site, "otpost.dispatch").await == 1)
            .await;
        let worker = site.start("w", WORKER).await;
        site.house.until_state(id, "delivered").await;
        assert_eq!(site.house.accepted(to).await, 1);
        checker::settle(&site, &sent, Duration::from_secs(30)).await;
        drop(worker);
    }
    checker::check(&site, &sent, Injected::default()).await;
}
