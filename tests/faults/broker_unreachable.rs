//! Trace 17: the broker is unreachable. Jobs over HTTP are still sent, and their events are published later.

use std::time::Duration;

use lapin::types::FieldTable;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::{self, Injected};
use crate::cluster::{Cluster, WORKER};
use crate::isolation::subscribe;
use crate::load::Sent;
use crate::support::deployment::job;
use crate::support::deployment::stopped_server::StoppedServer;
use crate::support::seen::Seen;
use crate::support::wait;

mod long {
    use super::*;

    /// Fails if an event is removed from its row before it is confirmed (no event is published).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_stay_pending_while_the_broker_is_unreachable() {
        let cluster = Cluster::build(Duration::from_millis(20)).await;
        checker::listen(&cluster).await;
        subscribe(&cluster.channel().await, "t.published", FieldTable::default()).await;
        let _api = cluster.start("api", "api").await;
        let _receipts = cluster.start("receipts", "receipts").await;
        let _a = cluster.start("a", WORKER).await;
        let away = StoppedServer::stop("rabbitmq", "clean");
        // Rows 2 to 4: no wake-up arrives, and the scans find the dispatch.
        let to = "+447732000001";
        let mut job = job(to, json!({}));
        let sent = [Sent::by_hand(&mut job)];
        let body = job.to_string().into_bytes();
        let (status, answer) =
            cluster.deployment.post_bytes(&cluster.api.to_string(), &cluster.deployment.key, body).await;
        assert_eq!(status, 202, "{answer}");
        let uid: Uuid = answer["uid"].as_str().unwrap().parse().unwrap();
        let row = async || {
            let d = cluster.deployment.ledger.read(uid).await.unwrap().unwrap();
            let d = Seen::of(&cluster.deployment.ledger, d).await.unwrap();
            let pending: Vec<i64> = d.pending_events.iter().map(|event| event.version).collect();
            (d.version, d.state.as_str().to_owned(), pending, d.wake_at.is_none())
        };
        let delivered = (5, "delivered".to_owned(), vec![3, 5], true);
        wait::until("it is delivered", async || row().await.1 == "delivered").await;
        // Row 5, longer than the lease of a publish.
        wait::throughout(Duration::from_secs(7), async || assert_eq!(row().await, delivered)).await;
        drop(away);

        // Row 6.
        wait::until("its events are published", async || row().await.2.is_empty()).await;
        let all = checker::drain(&cluster, "t.published").await;
        let mut events: Vec<(String, String)> = vec![];
        for body in all {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            events.push((text(&event["data"]["state"]), text(&event["sequence"])));
        }
        events.dedup();
        let expected = [("sent", "3"), ("delivered", "5")].map(|(state, n)| (state.to_owned(), n.to_owned()));
        assert_eq!(events, expected);
        assert_eq!(cluster.deployment.accepted(to).await, 1);
        checker::check(&cluster, &sent, Injected::default()).await;
    }
}
