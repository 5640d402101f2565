//! F5, F6: otpost's queues are deleted or have other arguments, or `consumer_timeout` passes.

use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use serde_json::json;

use crate::checker::{self, Injected, one_fault};
use crate::cluster::{ALL, Cluster};
use crate::load::Load;
use crate::resources::ProcessResources;
use crate::seed::Seed;
use crate::support::node::rabbitmqctl;
use crate::support::wait;
use crate::under_load::{in_flight, under_load};

const EXCHANGES: [&str; 2] = ["otpost", "otpost.events"];
const QUEUES: [&str; 5] =
    ["otpost.dispatch", "otpost.suspect", "otpost.receipts", "otpost.returned", "otpost.dead"];

async fn is_there(cluster: &Cluster, name: &str) -> bool {
    let channel = cluster.channel().await;
    let none = FieldTable::default();
    if EXCHANGES.contains(&name) {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(name.into(), ExchangeKind::Direct, passive, none).await.is_ok()
    } else {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), passive, none).await.is_ok()
    }
}

async fn delete(cluster: &Cluster, name: &str) {
    let channel = cluster.channel().await;
    if EXCHANGES.contains(&name) {
        channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
    } else {
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}

async fn ready(cluster: &Cluster, name: &str) -> (u16, String) {
    let serves = cluster.deployment.serving(name).await;
    let ops = serves.get("ops").or_else(|| serves["fields"].get("ops")).unwrap().as_str().unwrap();
    cluster.deployment.get(&format!("http://{ops}/readyz/worker")).await
}

/// A short `consumer_timeout`. Its drop restores the default.
struct ShortConsumerTimeout;

impl ShortConsumerTimeout {
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

impl Drop for ShortConsumerTimeout {
    fn drop(&mut self) {
        Self::set(1_800_000, 60_000); // RabbitMQ's defaults
    }
}

mod long {
    use super::*;

    /// Each is declared again with its bindings, within 15 s plus the time to connect. The queues are empty,
    /// so no confirmed message is lost.
    ///
    /// Fails if otpost does not check whether its objects still exist (`otpost.dead` is not declared again).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn queues_and_exchanges_are_deleted() {
        let cluster = Cluster::build(Duration::from_millis(20)).await;
        checker::listen(&cluster).await;
        let process = cluster.start("all", ALL).await;
        let mut load = Load::new(&cluster, Seed::of("queues_and_exchanges_are_deleted"));
        load.publish_each_and(10).await;
        checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
        let held = ProcessResources::now(&process);
        for name in QUEUES.into_iter().chain(EXCHANGES) {
            checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
            delete(&cluster, name).await;
            let began = tokio::time::Instant::now();
            let back = async || is_there(&cluster, name).await.then_some(());
            assert!(
                wait::within(Duration::from_secs(40), back).await.is_some(),
                "{name} is not declared again"
            );
            println!("{name}: back after {:?}", began.elapsed());
            wait::until("it is ready again", async || ready(&cluster, "all").await.0 == 200).await;
            one_fault();
            // The subscriber's binding is its own responsibility.
            checker::listen(&cluster).await;
            load.publish(10).await;
            // Each message is published until a queue gets it, so the binding is back too.
            let known = load.sent[0].id;
            for (key, body) in [
                ("dispatch", "no job".to_owned()),
                ("feedback", json!({"id": known, "verified": true}).to_string()),
                ("next", json!({"id": known}).to_string()),
                ("cancel", json!({"id": known}).to_string()),
                ("wake", String::new()),
            ] {
                load.publish_raw(key, body.as_bytes()).await;
            }
            let dead_lettered =
                async || (checker::drain(&cluster, "otpost.dead").await.len() == 1).then_some(());
            assert!(
                wait::within(Duration::from_secs(20), dead_lettered).await.is_some(),
                "{name}: not dead-lettered exactly once"
            );
        }
        checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
        checker::check(&cluster, &load.sent, Injected::default()).await;
        held.return_to_baseline().await;
    }

    /// With `declare = false`, otpost names the missing object and declares nothing, until an operator has
    /// declared it.
    ///
    /// Fails if otpost does not check whether its objects still exist (`otpost.receipts` is not missed).
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_deleted_object_is_reported_without_the_right_to_declare() {
        /// Longer than the interval of the check, and than the pause between two connection attempts.
        const LONGER_THAN_CHECK_INTERVAL: Duration = Duration::from_secs(20);
        let mut cluster = Cluster::build(Duration::from_millis(20)).await;
        cluster.replacements.push(("[amqp]\n".to_owned(), "[amqp]\ndeclare = false\n".to_owned()));
        checker::listen(&cluster).await;
        let _process = cluster.start("all", ALL).await;
        let mut load =
            Load::new(&cluster, Seed::of("a_deleted_object_is_reported_without_the_right_to_declare"));
        load.publish_each_and(10).await;
        for name in ["otpost.dispatch", "otpost.receipts", "otpost.events"] {
            checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
            delete(&cluster, name).await;
            let named = async || {
                let (status, text) = ready(&cluster, "all").await;
                (status == 503 && text.contains(name) && text.contains("otpost migrate")).then_some(())
            };
            assert!(
                wait::within(Duration::from_secs(40), named).await.is_some(),
                "{name} is not reported as missing"
            );
            wait::throughout(LONGER_THAN_CHECK_INTERVAL, async || {
                let (status, text) = ready(&cluster, "all").await;
                assert_eq!(status, 503, "{name} is missing: {text}");
            })
            .await;
            assert!(!is_there(&cluster, name).await, "{name} was declared although declare = false");
            otpost::broker::Broker::declare(
                &otpost::broker::Nodes::parse(&cluster.deployment.amqp_url, None).unwrap(),
                true,
            )
            .await
            .unwrap();
            wait::until("it is ready again", async || ready(&cluster, "all").await.0 == 200).await;
            one_fault();
            checker::listen(&cluster).await;
            load.publish(10).await;
        }
        checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
        checker::check(&cluster, &load.sent, Injected::default()).await;
    }

    /// A queue with other arguments is reported with a remedy, until it is deleted.
    ///
    /// Fails if a worker is ready regardless of the broker's state.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_queue_has_other_arguments() {
        let cluster = Cluster::build(Duration::from_millis(20)).await;
        checker::listen(&cluster).await;
        delete(&cluster, "otpost.receipts").await;
        let channel = cluster.channel().await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let made = channel.queue_declare("otpost.receipts".into(), durable, FieldTable::default()).await;
        made.unwrap();
        let _process = cluster.start("all", ALL).await;
        wait::until("it reports the problem", async || {
            let (status, text) = ready(&cluster, "all").await;
            status == 503 && text.contains("otpost.receipts") && text.contains("other arguments")
        })
        .await;
        delete(&cluster, "otpost.receipts").await;
        wait::until("it is ready", async || ready(&cluster, "all").await.0 == 200).await;
        let mut load = Load::new(&cluster, Seed::of("a_queue_has_other_arguments"));
        load.publish_each_and(10).await;
        checker::settle(&cluster, &load.sent, Duration::from_secs(60)).await;
        checker::check(&cluster, &load.sent, Injected::default()).await;
    }

    /// F6: the ledger does not answer for longer than `consumer_timeout`, so that jobs are held and not
    /// acknowledged. The broker closes the channel and redelivers the jobs, and each is admitted once.
    ///
    /// Fails if a consumer does not reconnect after its channel was closed.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_broker_closes_a_channel_after_consumer_timeout() {
        let _impatient = ShortConsumerTimeout::begin();
        under_load(
            "the_broker_closes_a_channel_after_consumer_timeout",
            in_flight(128),
            async |cluster, relays, _| {
                relays.ledger.stall();
                let lost = async || {
                    ["a", "b"]
                        .into_iter()
                        .any(|name| cluster.deployment.log(name).contains("was held for longer"))
                        .then_some(())
                };
                let lost = wait::within(Duration::from_secs(40), lost).await;
                relays.ledger.pass();
                relays.ledger.cut();
                assert!(lost.is_some(), "the broker closed no channel");
            },
        )
        .await;
    }
}
