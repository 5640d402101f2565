//! Trace 16: the ledger is unreachable for longer than a code lives, during all kinds of open work.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::{self, Injected};
use crate::cluster::{Cluster, FRONT_END, WORKER};
use crate::load::Sent;
use crate::support::deployment::job;
use crate::support::deployment::stopped_server::StoppedServer;
use crate::support::relay::Relay;
use crate::support::wait;
use crate::under_load::wait_until_past;

const D1: &str = "+447731000001";
const D2: &str = "+447731000002";
const D3: &str = "+447731000003";
const D4: &str = "+447731000004";
const D5: &str = "+447731000005";
/// A code with this lifetime expires before the ledger is back.
const SHORT_LIFE: Duration = Duration::from_secs(25);

impl Cluster {
    /// Publishes a job. The carrier has this outcome for its number.
    async fn has(&self, to: &str, outcomes: Value, more: Value, sent: &mut Vec<Sent>) -> Uuid {
        self.deployment.script(to, outcomes).await;
        let mut job = job(to, more);
        sent.push(Sent::by_hand(&mut job));
        self.deployment.publish(&job).await
    }

    async fn is_asked(&self, to: &str) {
        wait::until("the carrier gets a request", async || {
            !self.deployment.record("requests", Some(to)).await.is_empty()
        })
        .await;
    }

    /// Returns the channels of the messages that the carrier accepted for a number.
    async fn accepted_channels(&self, to: &str) -> Vec<String> {
        let accepted = self.deployment.record("accepted", Some(to)).await;
        accepted.iter().map(|message| message["channel"].as_str().unwrap().to_owned()).collect()
    }
}

mod long {
    use super::*;

    /// Fails if an outcome that cannot be written is lost (d1 is unknown, and repeated).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_unreachable_during_open_work() {
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        checker::listen(&cluster).await;
        let mut sent = vec![];
        cluster.replacements.push(("time_out_s = 3".to_owned(), "time_out_s = 12".to_owned()));
        let _front_end = cluster.start("front-end", FRONT_END).await;
        // Row 0: only d5 is open at B, and B takes nothing else.
        let way = Relay::start(cluster.deployment.broker()).await;
        cluster.replacements.push((cluster.deployment.broker().to_string(), way.addr().to_string()));
        let b = cluster.start("b", WORKER).await;
        let d5 = cluster.has(D5, json!([{"outcome": "slow", "ms": 10_000}]), json!({}), &mut sent).await;
        cluster.is_asked(D5).await;
        way.refuse(true);
        way.cut();
        cluster.replacements.pop();
        let carrier = cluster.deployment.gateway.addr();
        let slow = Relay::start(carrier).await;
        cluster.replacements.push((carrier.to_string(), slow.addr().to_string()));
        let _a = cluster.start("a", WORKER).await;
        let plan = json!({"channels": ["sms", "voice"], "fallback_after_s": 10});
        let d2 = cluster.has(D2, json!(["silent"]), plan, &mut sent).await;
        cluster.deployment.until_state(d2, "sent").await;
        let sid =
            cluster.deployment.record("accepted", Some(D2)).await[0]["sid"].as_str().unwrap().to_owned();
        let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), SHORT_LIFE);
        let ends = json!({"expires_at": expires_at});
        let d3 = cluster.has(D3, json!(vec!["unavailable"; 9]), ends, &mut sent).await;
        cluster.is_asked(D3).await;
        // Only A learns the outcome of d1, and it learns it when it cannot write.
        slow.delay(Duration::from_millis(2500));
        let d1 = cluster.has(D1, json!(["silent", "silent"]), json!({}), &mut sent).await;
        cluster.is_asked(D1).await;

        let away = StoppedServer::stop("postgres", "fast");
        // Rows 1 to 4.
        wait::until("A reports the outage", async || {
            cluster.deployment.log("a").contains("the ledger is unreachable")
        })
        .await;
        assert!(cluster.ready("a").await.is_some(), "it is not ready");
        let d4 = cluster.has(D4, json!([]), json!({}), &mut sent).await;
        let body = job(D4, json!({})).to_string().into_bytes();
        let (status, _) =
            cluster.deployment.post_bytes(&cluster.api.to_string(), &cluster.deployment.key, body).await;
        assert_eq!(status, 503, "a job by HTTP");
        cluster.deployment.receipt(&sid, "delivered").await;
        let kept = async || {
            let accepted = cluster.deployment.record("accepted", Some(D2)).await;
            let callbacks = accepted[0]["callbacks"].as_array().unwrap().clone();
            callbacks.iter().any(|c| c["status"] == "delivered" && c["http_status"] == 204)
        };
        wait::until("its receipt is accepted", kept).await;
        // Row 5: the fallback time of d2, all deadlines, and the life of d3 pass.
        wait_until_past(otpost::domain::clock::after(expires_at, Duration::from_secs(5))).await;
        drop(b);
        assert!(cluster.accepted_channels(D4).await.is_empty(), "no attempt begins without the ledger");
        drop(away);

        // Rows 6 to 10.
        slow.pass();
        let answered = cluster.deployment.until_state(d1, "sent").await;
        let kept = answered.attempts[0].details.message_id.is_some();
        assert!(answered.attempts.len() == 1 && kept, "its outcome was written: {answered:#?}");
        let sid =
            cluster.deployment.record("accepted", Some(D1)).await[0]["sid"].as_str().unwrap().to_owned();
        cluster.deployment.receipt(&sid, "delivered").await;
        for id in [d1, d2, d4, d5] {
            cluster.deployment.until_state(id, "delivered").await;
        }
        let d3 = cluster.deployment.until_state(d3, "expired").await;
        for (id, end) in [(d1, "delivered"), (d2, "delivered"), (d3.order.id, "expired"), (d4, "delivered")] {
            let published =
                async || cluster.deployment.events(id).last().is_some_and(|last| last.starts_with(end));
            wait::until("its final state is published", published).await;
        }
        assert_eq!(
            (cluster.accepted_channels(D1).await, cluster.accepted_channels(D2).await),
            (vec!["sms".to_owned()], vec!["sms".to_owned()])
        );
        assert_eq!(
            (cluster.accepted_channels(D3).await, cluster.accepted_channels(D4).await),
            (vec![], vec!["sms".to_owned()])
        );
        assert!(
            d3.attempts.iter().all(|a| a.begun_at < otpost::domain::clock::after(d3.admitted_at, SHORT_LIFE))
        );
        let d5 = cluster.deployment.ledger.find("default", d5).await.unwrap().unwrap();
        let twice = cluster.accepted_channels(D5).await;
        // One text, if its receipt arrived and was stored. Otherwise its outcome is unknown, and it is
        // repeated once.
        assert!((1..=2).contains(&twice.len()) && twice.len() <= d5.attempts.len(), "{twice:?} {d5:#?}");
        checker::settle(&cluster, &sent, Duration::from_secs(30)).await;
        checker::check(&cluster, &sent, Injected { unknown: 1, time: true, ..Injected::default() }).await;
    }
}
