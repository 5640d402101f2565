//! Trace 17: the broker is away; jobs that come over HTTP are sent all the same, and their events are owed and told later.

use std::time::Duration;

use lapin::types::FieldTable;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::{self, Injected};
use crate::load::Sent;
use crate::neighbours::subscribe;
use crate::site::{Site, WORKER};
use crate::support::house::away::Away;
use crate::support::house::job;
use crate::support::wait;
use crate::support::world::connect;

mod long {
    use super::*;

    /// Seen to fail: where an event is taken off its row before it was confirmed (nothing is told).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn events_are_owed_while_the_broker_is_away() {
        let site = Site::build(Duration::from_millis(20)).await;
        checker::listen(&site).await;
        subscribe(&site.channel().await, "t.told", FieldTable::default()).await;
        let _api = site.start("api", "api").await;
        let _receipts = site.start("receipts", "receipts").await;
        let _a = site.start("a", WORKER).await;
        let away = Away::stop("rabbitmq", "clean");
        // Rows 2 to 4: nobody wakes anybody, and the scans find it.
        let to = "+447732000001";
        let mut job = job(to, json!({}));
        let sent = [Sent::by_hand(&mut job)];
        let body = job.to_string().into_bytes();
        let (status, answer) = site.house.post_bytes(&site.api.to_string(), &site.house.key, body).await;
        assert_eq!(status, 202, "{answer}");
        let uid: Uuid = answer["uid"].as_str().unwrap().parse().unwrap();
        let look = connect(&site.house.ledger_url).await;
        let row = async || {
            let sql = "select version, state, owed, tell_at is not null and wake_at is null from dispatch where uid = $1";
            let row = look.query_one(sql, &[&uid]).await.unwrap();
            let owed: Value = row.get(2);
            let owed: Vec<i64> =
                owed.as_array().unwrap().iter().map(|event| event["version"].as_i64().unwrap()).collect();
            (row.get::<_, i64>(0), row.get::<_, String>(1), owed, row.get::<_, bool>(3))
        };
        let delivered = (5, "delivered".to_owned(), vec![3, 5], true);
        wait::until("it is delivered", async || row().await.1 == "delivered").await;
        // Row 5, longer than a lease of what is told.
        wait::throughout(Duration::from_secs(7), async || assert_eq!(row().await, delivered)).await;
        drop(away);

        // Row 6.
        wait::until("its events are told", async || row().await.2.is_empty()).await;
        let all = checker::drain(&site, "t.told").await;
        let mut events: Vec<(String, String)> = vec![];
        for body in all {
            let event: Value = serde_json::from_slice(&body).unwrap();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            events.push((text(&event["data"]["state"]), text(&event["sequence"])));
        }
        events.dedup();
        let expected = [("sent", "3"), ("delivered", "5")].map(|(state, n)| (state.to_owned(), n.to_owned()));
        assert_eq!(events, expected);
        assert_eq!(site.house.accepted(to).await, 1);
        checker::check(&site, &sent, Injected::default()).await;
    }
}
