//! F5, F6: what otpost needs of the broker is gone, is something else, or the broker runs out of patience.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use serde_json::json;

use crate::checker::{self, Injected, one_fault};
use crate::load::Load;
use crate::resources::Holds;
use crate::seed::Seed;
use crate::site::{ALL, Site};
use crate::support::node::rabbitmqctl;
use crate::support::wait;
use crate::under_load::{in_flight, under_load};

const EXCHANGES: [&str; 2] = ["otpost", "otpost.events"];
const QUEUES: [&str; 4] = ["otpost.dispatch", "otpost.suspect", "otpost.receipts", "otpost.dead"];

async fn is_there(site: &Site, name: &str) -> bool {
    let channel = site.channel().await;
    let none = FieldTable::default();
    if EXCHANGES.contains(&name) {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(name.into(), ExchangeKind::Direct, passive, none).await.is_ok()
    } else {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), passive, none).await.is_ok()
    }
}

async fn delete(site: &Site, name: &str) {
    let channel = site.channel().await;
    if EXCHANGES.contains(&name) {
        channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
    } else {
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}

async fn ready(site: &Site, name: &str) -> (u16, String) {
    let serves = site.house.serving(name).await;
    let ops = serves.get("ops").or_else(|| serves["fields"].get("ops")).unwrap().as_str().unwrap();
    site.house.get(&format!("http://{ops}/readyz/worker")).await
}

/// Puts the broker's patience with what is held back to what it was.
struct Impatient;

impl Impatient {
    fn set(timeout_ms: u32, tick_ms: u32) {
        for (name, value) in [("consumer_timeout", timeout_ms), ("channel_tick_interval", tick_ms)] {
            rabbitmqctl(&["eval", &format!("application:set_env(rabbit, {name}, {value}).")]);
        }
    }

    fn begin() -> Self {
        Self::set(3_000, 1_000);
        Self
    }
}

impl Drop for Impatient {
    fn drop(&mut self) {
        Self::set(1_800_000, 60_000); // RabbitMQ's own
    }
}

mod long {
    use super::*;

    /// Each is made anew, with its bindings, as soon as it is missed: within the quarter of a minute after which it is looked for
    /// and the time that a connection takes. Nothing that was confirmed is lost: it was empty.
    ///
    /// Seen to fail: where nobody looks whether what was declared is still there (`otpost.dead` does not come back).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn queues_and_exchanges_are_deleted() {
        let site = Site::build(Duration::from_millis(20)).await;
        checker::listen(&site).await;
        let process = site.start("all", ALL).await;
        let mut load = Load::new(&site, Seed::of("queues_and_exchanges_are_deleted"));
        load.publish_each_and(10).await;
        checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
        let held = Holds::now(&process);
        for name in QUEUES.into_iter().chain(EXCHANGES) {
            checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
            delete(&site, name).await;
            let began = tokio::time::Instant::now();
            let back = async || is_there(&site, name).await.then_some(());
            assert!(wait::within(Duration::from_secs(40), back).await.is_some(), "{name} does not come back");
            println!("{name}: back after {:?}", began.elapsed());
            wait::until("it is ready again", async || ready(&site, "all").await.0 == 200).await;
            one_fault();
            // A subscriber's binding is its own.
            checker::listen(&site).await;
            load.publish(10).await;
            // Each is published until a queue takes it: what leads there is back too.
            let known = load.sent[0].id;
            for (key, body) in [
                ("dispatch", "no job".to_owned()),
                ("feedback", json!({"id": known, "verified": true}).to_string()),
                ("next", json!({"id": known}).to_string()),
                ("cancel", json!({"id": known}).to_string()),
                ("wake", String::new()),
            ] {
                load.say(key, body.as_bytes()).await;
            }
            let buried = async || (checker::drain(&site, "otpost.dead").await.len() == 1).then_some(());
            assert!(
                wait::within(Duration::from_secs(20), buried).await.is_some(),
                "{name}: not buried, once"
            );
        }
        checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
        checker::check(&site, &load.sent, Injected::default()).await;
        held.come_back().await;
    }

    /// Who may make nothing says what is missing and what to do, and makes nothing, until somebody has made it.
    ///
    /// Seen to fail: where nobody looks whether what was there still is (`otpost.receipts` is not missed).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_deleted_is_named_where_nothing_may_be_made() {
        /// Longer than the time after which all of it is looked for again, and each connection is tried again.
        const A_WHILE: Duration = Duration::from_secs(20);
        let mut site = Site::build(Duration::from_millis(20)).await;
        site.instead.push(("[amqp]\n".to_owned(), "[amqp]\ndeclare = false\n".to_owned()));
        checker::listen(&site).await;
        let _process = site.start("all", ALL).await;
        let mut load = Load::new(&site, Seed::of("what_is_deleted_is_named_where_nothing_may_be_made"));
        load.publish_each_and(10).await;
        for name in ["otpost.dispatch", "otpost.receipts", "otpost.events"] {
            checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
            delete(&site, name).await;
            let named = async || {
                let (status, text) = ready(&site, "all").await;
                (status == 503 && text.contains(name) && text.contains("otpost migrate")).then_some(())
            };
            assert!(wait::within(Duration::from_secs(40), named).await.is_some(), "{name} is not missed");
            wait::throughout(A_WHILE, async || {
                let (status, text) = ready(&site, "all").await;
                assert_eq!(status, 503, "{name} is missing: {text}");
            })
            .await;
            assert!(!is_there(&site, name).await, "{name} was made by whom it was forbidden");
            otpost::broker::Broker::declare(&site.house.amqp_url, true).await.unwrap();
            wait::until("it is ready again", async || ready(&site, "all").await.0 == 200).await;
            one_fault();
            checker::listen(&site).await;
            load.publish(10).await;
        }
        checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
        checker::check(&site, &load.sent, Injected::default()).await;
    }

    /// A queue that somebody else has made is named, and what to do about it, until it is gone.
    ///
    /// Seen to fail: where a worker is ready whatever its broker says.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_queue_has_other_arguments() {
        let site = Site::build(Duration::from_millis(20)).await;
        checker::listen(&site).await;
        delete(&site, "otpost.receipts").await;
        let channel = site.channel().await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let made = channel.queue_declare("otpost.receipts".into(), durable, FieldTable::default()).await;
        made.unwrap();
        let _process = site.start("all", ALL).await;
        wait::until("it says what is wrong", async || {
            let (status, text) = ready(&site, "all").await;
            status == 503 && text.contains("otpost.receipts") && text.contains("other arguments")
        })
        .await;
        delete(&site, "otpost.receipts").await;
        wait::until("it is ready", async || ready(&site, "all").await.0 == 200).await;
        let mut load = Load::new(&site, Seed::of("a_queue_has_other_arguments"));
        load.publish_each_and(10).await;
        checker::settle(&site, &load.sent, Duration::from_secs(60)).await;
        checker::check(&site, &load.sent, Injected::default()).await;
    }

    /// F6: the ledger does not answer for longer than `consumer_timeout`, so that jobs are held and not acked. The broker closes
    /// the channel, gives the jobs to whoever comes, and they are admitted once.
    ///
    /// Seen to fail: where a consumer whose channel was closed does not connect again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_loses_patience_with_what_is_held() {
        let _impatient = Impatient::begin();
        under_load("the_broker_loses_patience_with_what_is_held", in_flight(128), async |site, lines, _| {
            lines.ledger.stall();
            let lost = async || {
                ["a", "b"]
                    .into_iter()
                    .any(|name| site.house.log(name).contains("was held for longer"))
                    .then_some(())
            };
            let lost = wait::within(Duration::from_secs(40), lost).await;
            lines.ledger.pass();
            lines.ledger.cut();
            assert!(lost.is_some(), "the broker closed no channel");
        })
        .await;
    }
}
