//! Trace 16: the ledger goes away with all kinds of work in flight, and stays away for longer than a code lives.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::{self, Injected};
use crate::load::Sent;
use crate::site::{FRONT_END, Site, WORKER};
use crate::support::house::away::Away;
use crate::support::house::job;
use crate::support::relay::Relay;
use crate::support::wait;
use crate::under_load::is_past;

const D1: &str = "+447731000001";
const D2: &str = "+447731000002";
const D3: &str = "+447731000003";
const D4: &str = "+447731000004";
const D5: &str = "+447731000005";
/// One code lives no longer than this, which is over before the ledger is back.
const SHORT_LIFE: Duration = Duration::from_secs(25);

impl Site {
    /// Publishes a job for whose number the carrier has this outcome.
    async fn has(&self, to: &str, outcomes: Value, more: Value, sent: &mut Vec<Sent>) -> Uuid {
        self.house.script(to, outcomes).await;
        let mut job = job(to, more);
        sent.push(Sent::by_hand(&mut job));
        self.house.publish(&job).await
    }

    async fn is_asked(&self, to: &str) {
        wait::until("the carrier is asked", async || {
            !self.house.record("requests", Some(to)).await.is_empty()
        })
        .await;
    }

    /// What the carrier took for a number, as channels.
    async fn took(&self, to: &str) -> Vec<String> {
        let accepted = self.house.record("accepted", Some(to)).await;
        accepted.iter().map(|message| message["channel"].as_str().unwrap().to_owned()).collect()
    }
}

mod long {
    use super::*;

    /// Seen to fail: where an outcome that cannot be written is forgotten (d1 is unknown, and repeated).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_ledger_is_away_with_work_in_flight() {
        let mut site = Site::build(Duration::from_millis(20)).await;
        checker::listen(&site).await;
        let mut sent = vec![];
        site.instead.push(("time_out_s = 3".to_owned(), "time_out_s = 12".to_owned()));
        let _front_end = site.start("front-end", FRONT_END).await;
        // Row 0: B alone has d5 in flight, and takes nothing more.
        let way = Relay::start(site.house.broker()).await;
        site.instead.push((site.house.broker().to_string(), way.addr().to_string()));
        let b = site.start("b", WORKER).await;
        let d5 = site.has(D5, json!([{"outcome": "slow", "ms": 10_000}]), json!({}), &mut sent).await;
        site.is_asked(D5).await;
        way.refuse(true);
        way.cut();
        site.instead.pop();
        let carrier = site.house.gateway.addr();
        let slow = Relay::start(carrier).await;
        site.instead.push((carrier.to_string(), slow.addr().to_string()));
        let _a = site.start("a", WORKER).await;
        let plan = json!({"channels": ["sms", "voice"], "fallback_after_s": 10});
        let d2 = site.has(D2, json!(["silent"]), plan, &mut sent).await;
        site.house.until_state(d2, "sent").await;
        let sid = site.house.record("accepted", Some(D2)).await[0]["sid"].as_str().unwrap().to_owned();
        let expires_at = otpost::domain::clock::after(otpost::domain::clock::now(), SHORT_LIFE);
        let ends = json!({"expires_at": expires_at});
        let d3 = site.has(D3, json!(vec!["unavailable"; 9]), ends, &mut sent).await;
        site.is_asked(D3).await;
        // A alone knows what becomes of d1, and learns it when it can write nothing.
        slow.delay(Duration::from_millis(2500));
        let d1 = site.has(D1, json!(["silent", "silent"]), json!({}), &mut sent).await;
        site.is_asked(D1).await;

        let away = Away::stop("postgres", "fast");
        // Rows 1 to 4.
        wait::until("A knows", async || site.house.log("a").contains("the ledger is unreachable")).await;
        assert!(site.ready("a").await.is_some(), "it is not ready");
        let d4 = site.has(D4, json!([]), json!({}), &mut sent).await;
        let body = job(D4, json!({})).to_string().into_bytes();
        let (status, _) = site.house.post_bytes(&site.api.to_string(), &site.house.key, body).await;
        assert_eq!(status, 503, "a job by HTTP");
        site.house.receipt(&sid, "delivered").await;
        let kept = async || {
            let accepted = site.house.record("accepted", Some(D2)).await;
            let told = accepted[0]["callbacks"].as_array().unwrap().clone();
            told.iter().any(|c| c["status"] == "delivered" && c["http_status"] == 204)
        };
        wait::until("its receipt is taken", kept).await;
        // Row 5: the fallback of d2, all deadlines, and the life of d3 pass.
        is_past(otpost::domain::clock::after(expires_at, Duration::from_secs(5))).await;
        drop(b);
        assert!(site.took(D4).await.is_empty(), "nothing is begun without the ledger");
        drop(away);

        // Rows 6 to 10.
        slow.pass();
        let answered = site.house.until_state(d1, "sent").await;
        let kept = answered.attempts[0].details.message_id.is_some();
        assert!(answered.attempts.len() == 1 && kept, "its outcome was kept: {answered:#?}");
        let sid = site.house.record("accepted", Some(D1)).await[0]["sid"].as_str().unwrap().to_owned();
        site.house.receipt(&sid, "delivered").await;
        for id in [d1, d2, d4, d5] {
            site.house.until_state(id, "delivered").await;
        }
        let d3 = site.house.until_state(d3, "expired").await;
        for (id, end) in [(d1, "delivered"), (d2, "delivered"), (d3.order.id, "expired"), (d4, "delivered")] {
            let told = async || site.house.events(id).last().is_some_and(|last| last.starts_with(end));
            wait::until("its end is told", told).await;
        }
        assert_eq!(
            (site.took(D1).await, site.took(D2).await),
            (vec!["sms".to_owned()], vec!["sms".to_owned()])
        );
        assert_eq!((site.took(D3).await, site.took(D4).await), (vec![], vec!["sms".to_owned()]));
        assert!(
            d3.attempts.iter().all(|a| a.begun_at < otpost::domain::clock::after(d3.admitted_at, SHORT_LIFE))
        );
        let d5 = site.house.ledger.find("default", d5).await.unwrap().unwrap();
        let twice = site.took(D5).await;
        // One, where its receipt came and was kept; else its outcome is unknown, and it is repeated once.
        assert!((1..=2).contains(&twice.len()) && twice.len() <= d5.attempts.len(), "{twice:?} {d5:#?}");
        checker::settle(&site, &sent, Duration::from_secs(30)).await;
        checker::check(&site, &sent, Injected { unknown: 1, time: true, ..Injected::default() }).await;
    }
}
