//! Tests the broker module against a real `RabbitMQ`, on a separate vhost for each test, and over a network
//! with faults.
#![expect(clippy::unwrap_used, reason = "a panic in a helper fails the test")]

#[path = "support/rabbit.rs"]
#[expect(dead_code, reason = "each test binary uses its own part")]
mod rabbit;
#[path = "support/relay.rs"]
#[expect(dead_code, reason = "each test binary uses its own part")]
mod relay;

use std::collections::HashSet;
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use otpost::broker::topology::{DEAD, DISPATCH, JOBS, RETURNED, key};
use otpost::broker::{
    Broker, BrokerError, ConnectionStates, ConsumedQueue, Deliveries, Delivery, Exchange, Message, Nodes,
    Operation, PublishError, Settings,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use rabbit::wait::until;
use rabbit::{TIMEOUT, Vhost};
use relay::Relay;

/// Time after which a message counts as not sent.
const SILENCE: Duration = Duration::from_millis(500);

struct Running {
    broker: Broker,
    deliveries: Deliveries,
    may_consume: watch::Sender<bool>,
    shutdown: CancellationToken,
}

fn nodes(urls: &str) -> Nodes {
    Nodes::parse(urls, None).unwrap()
}

fn settings(url: &str) -> Settings {
    Settings {
        nodes: nodes(url),
        declare: true,
        linger: Duration::from_secs(20),
        publish_timeout: Duration::from_secs(5),
        max_outstanding: 1000,
    }
}

impl Running {
    fn start(settings: Settings, prefetch: u16) -> Self {
        let (may_consume, may) = watch::channel(true);
        let shutdown = CancellationToken::new();
        let broker = Broker::start(settings, shutdown.clone());
        let deliveries = broker.consume(ConsumedQueue::Dispatch, prefetch, may);
        Self { broker, deliveries, may_consume, shutdown }
    }

    async fn up(settings: Settings) -> Self {
        Self::up_with(settings, 100).await
    }

    async fn up_with(settings: Settings, prefetch: u16) -> Self {
        let running = Self::start(settings, prefetch);
        wait_for_connections(&running.broker, |up| up.publishing() && up.consuming()).await;
        running
    }

    async fn next(&mut self) -> Delivery {
        timeout(TIMEOUT, self.deliveries.next()).await.unwrap().unwrap()
    }

    async fn take(&mut self, many: usize) -> Vec<Delivery> {
        let mut held = vec![];
        while held.len() < many {
            held.push(self.next().await);
        }
        held
    }

    async fn receives_nothing(&mut self) {
        assert!(timeout(SILENCE, self.deliveries.next()).await.is_err(), "a delivery arrived");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        drop(self.deliveries);
        timeout(TIMEOUT, self.broker.close()).await.unwrap();
    }
}

/// A connection that only publishes.
async fn publisher(url: String) -> Broker {
    let broker = Broker::start(settings(&url), CancellationToken::new());
    wait_for_connections(&broker, |up| up.publishing() && up.publishing_events()).await;
    broker
}

async fn wait_for_connections(
    broker: &Broker, how: impl FnMut(&ConnectionStates) -> bool,
) -> ConnectionStates {
    timeout(TIMEOUT, broker.watch().wait_for(how)).await.unwrap().unwrap().clone()
}

fn message<I: ToString + ?Sized>(routing_key: &str, id: &I) -> Message {
    Message {
        exchange: Exchange::Otpost,
        routing_key: routing_key.to_owned(),
        body: id.to_string().into_bytes(),
        message_id: id.to_string(),
        kind: "otpost.job",
        content_type: "application/json",
        headers: vec![],
        user_id: None,
        expiration: None,
        mandatory: true,
    }
}

fn job<I: ToString + ?Sized>(id: &I) -> Message {
    message(key::DISPATCH, id)
}

/// Publishes, with retries, until the broker has confirmed the message.
async fn publish_again<I: ToString + ?Sized>(broker: &Broker, id: &I) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let publishing = async {
        while broker.publish(job(id)).await.is_err() {
            tick.tick().await;
        }
    };
    timeout(TIMEOUT, publishing).await.unwrap();
}

fn name(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body.clone()).unwrap()
}

fn names(deliveries: &[Delivery]) -> HashSet<String> {
    deliveries.iter().map(name).collect()
}

async fn lapin(vhost: &Vhost) -> (Connection, lapin::Channel) {
    let connection = Connection::connect(&vhost.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// Fails if only the first URL is tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_answer_is_passed_over() {
    let vhost = Vhost::new();
    let away = "amqp://guest:guest@127.0.0.1:1/%2f";
    for urls in [format!("{away}, {}", vhost.url()), format!("{}, {away}", vhost.url())] {
        for _ in 0..3 {
            Broker::declare(&nodes(&urls), true).await.unwrap();
        }
    }
    let problem = Broker::declare(&nodes(&format!("{away}, {away}")), true).await.unwrap_err().to_string();
    assert!(problem.contains("cannot be reached"), "{problem}");
    assert!(Nodes::parse(&format!("{}, nonsense", vhost.url()), None).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_job_arrives_with_its_properties_and_its_ack_removes_it() {
    let vhost = Vhost::new();
    let mut worker = Running::up(settings(&vhost.url())).await;
    let headers = vec![("traceparent".to_owned(), "00-4bf9-00f0-01".to_owned())];
    worker.broker.publish(Message { headers, ..job("a job") }).await.unwrap();
    let delivery = worker.next().await;
    assert_eq!(delivery.body, b"a job");
    assert_eq!(delivery.routing_key, "dispatch");
    assert_eq!(delivery.message_id.as_deref(), Some("a job"));
    assert_eq!(delivery.traceparent.as_deref(), Some("00-4bf9-00f0-01"));
    assert_eq!(
        (delivery.user_id.as_deref(), delivery.delivery_count, delivery.redelivered),
        (None, 0, false)
    );
    delivery.ack();

    let (_connection, channel) = lapin(&vhost).await;
    let by_guest = BasicProperties::default().with_user_id("guest".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish(JOBS.into(), key::WAKE.into(), options, b"", by_guest).await.unwrap();
    let delivery = worker.next().await;
    assert_eq!((delivery.user_id.as_deref(), delivery.routing_key.as_str()), (Some("guest"), "wake"));
    delivery.ack();
    vhost.has_depth(DISPATCH, (0, 0)).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_message_is_persistent_and_carries_type_time_and_headers() {
    let vhost = Vhost::new();
    let broker = publisher(vhost.url()).await;
    let headers = vec![("reason".to_owned(), "conflict".to_owned())];
    broker.publish(Message { headers, ..message(key::DEAD, "letter") }).await.unwrap();
    let (_connection, channel) = lapin(&vhost).await;
    let got = channel.basic_get(DEAD.into(), BasicGetOptions { no_ack: true }).await.unwrap().unwrap();
    let properties = &got.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "otpost.job");
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "letter");
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    let age =
        otpost::domain::clock::now().as_second() - i64::try_from(properties.timestamp().unwrap()).unwrap();
    assert!((0..60).contains(&age), "{age}");
    let reason = properties.headers().as_ref().unwrap().inner().get("reason");
    assert_eq!(reason, Some(&AMQPValue::LongString("conflict".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn unacked_deliveries_are_redelivered_after_a_cut_with_their_delivery_count() {
    let vhost = Vhost::new();
    let publisher = publisher(vhost.url()).await;
    let relay = Relay::start(vhost.upstream()).await;
    let mut worker = Running::up(settings(&vhost.url_by(relay.addr()))).await;
    for id in 0..3 {
        publisher.publish(job(&id)).await.unwrap();
    }
    let all = HashSet::from(["0", "1", "2"].map(str::to_owned));
    for returned in 0..3 {
        let held = worker.take(3).await;
        assert_eq!(names(&held), all);
        for delivery in held {
            assert_eq!((delivery.delivery_count, delivery.redelivered), (returned, returned > 0));
            if returned == 2 {
                delivery.ack();
            }
        }
        if returned < 2 {
            relay.cut();
        }
    }
    vhost.has_depth(DISPATCH, (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_of_a_closed_connection_acks_nothing_on_the_next_one() {
    let vhost = Vhost::new();
    let publisher = publisher(vhost.url()).await;
    let relay = Relay::start(vhost.upstream()).await;
    let mut worker = Running::up(settings(&vhost.url_by(relay.addr()))).await;
    publisher.publish(job("old")).await.unwrap();
    let old = worker.next().await;
    relay.cut();
    let again = worker.next().await;
    assert_eq!((name(&again), again.delivery_count), ("old".to_owned(), 1));
    old.ack(); // both tags are 1
    publisher.publish(job("new")).await.unwrap();
    worker.next().await.ack();
    vhost.has_depth(DISPATCH, (0, 1)).await;
    again.ack();
    vhost.has_depth(DISPATCH, (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_delivery_arrives_once_after_the_connection_broke() {
    let vhost = Vhost::new();
    let publisher = publisher(vhost.url()).await;
    let relay = Relay::start(vhost.upstream()).await;
    let mut worker = Running::up(settings(&vhost.url_by(relay.addr()))).await;
    for id in 0..20 {
        publisher.publish(job(&id)).await.unwrap();
    }
    vhost.has_depth(DISPATCH, (0, 20)).await;
    relay.cut();
    wait_for_connections(&worker.broker, |up| !up.consuming()).await;
    wait_for_connections(&worker.broker, ConnectionStates::consuming).await;
    let held = worker.take(20).await;
    assert!(held.iter().all(|delivery| delivery.delivery_count == 1), "{held:?}");
    worker.receives_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_continue_and_no_confirmed_message_is_lost_after_any_connection_fault() {
    let vhost = Vhost::new();
    let relay = Relay::start(vhost.upstream()).await;
    // The publisher's and the worker's connections break. Missing heartbeats reveal a stall.
    let mut worker = Running::up(settings(&(vhost.url_by(relay.addr()) + "?heartbeat=1"))).await;
    let broker = worker.broker.clone();
    let (faults_over, over) = watch::channel(false);
    let publishing = tokio::spawn(async move {
        let mut confirmed = HashSet::new();
        let mut id = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while !*over.borrow() {
            tick.tick().await;
            id += 1;
            if broker.publish(job(&id)).await.is_ok() {
                confirmed.insert(id.to_string());
            }
        }
        confirmed
    });
    let mut arrived = HashSet::new();
    for fault in ["none", "cut", "reset", "closed by the broker", "refused for a while", "stalled"] {
        match fault {
            "cut" => relay.cut(),
            "reset" => relay.reset(),
            "closed by the broker" => vhost.close_all_connections(),
            "refused for a while" => {
                relay.refuse(true);
                relay.cut();
                let refused = relay.counts().refused;
                until("some connections are refused", async || relay.counts().refused >= refused + 4).await;
                assert!(worker.broker.watch().borrow().problem().is_some());
                relay.refuse(false);
            }
            "stalled" => {
                relay.stall();
                wait_for_connections(&worker.broker, |up| !up.publishing() && !up.consuming()).await;
                relay.pass();
            }
            _ => {}
        }
        wait_for_connections(&worker.broker, |up| up.publishing() && up.consuming()).await;
        // A message that is published afterwards arrives.
        publish_again(&worker.broker, fault).await;
        let arriving = async {
            loop {
                let delivery = worker.next().await;
                let this = name(&delivery);
                delivery.ack();
                arrived.insert(this.clone());
                if this == fault {
                    return;
                }
            }
        };
        timeout(TIMEOUT, arriving).await.unwrap();
    }
    faults_over.send_replace(true);
    let confirmed = publishing.await.unwrap();
    assert!(confirmed.len() > 20, "{}", confirmed.len());
    while !confirmed.is_subset(&arrived) {
        let delivery = worker.next().await;
        arrived.insert(name(&delivery));
        delivery.ack();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_and_consumed_again() {
    let vhost = Vhost::new();
    let mut worker = Running::up(settings(&vhost.url())).await;
    publish_again(&worker.broker, "before").await;
    worker.next().await.ack();
    vhost.ctl("delete_queue", &[DISPATCH]);
    publish_again(&worker.broker, "after").await;
    let delivery = worker.next().await;
    assert_eq!(name(&delivery), "after");
    delivery.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unroutable_message_is_returned_if_it_is_mandatory_and_dropped_otherwise() {
    let vhost = Vhost::new();
    let broker = publisher(vhost.url()).await;
    assert_eq!(broker.publish(message("unbound", "a")).await, Err(PublishError::Returned));
    let optional = Message { mandatory: false, ..message("unbound", "b") };
    assert_eq!(broker.publish(optional.clone()).await, Ok(()));
    assert_eq!(broker.publish(Message { exchange: Exchange::Events, ..optional }).await, Ok(()));
    assert_eq!(broker.publish(job("c")).await, Ok(()));
    assert_eq!(broker.publish(job(&"x".repeat(256))).await, Err(PublishError::NameTooLong));
    assert_eq!(broker.publish(job("d")).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_concurrent_publisher_gets_the_result_of_its_own_message() {
    let vhost = Vhost::new();
    let broker = publisher(vhost.url()).await;
    for round in 0..5 {
        let publishing = (0..1000).map(|id| {
            let broker = broker.clone();
            // In odd rounds all messages are confirmed at once, many by one frame, whose order lapin does not
            // keep. In even rounds a quorum queue confirms later than the broker returns unroutable messages.
            let unbound = round % 2 == 1 || id % 3 == 1;
            let key = if unbound { "unbound" } else { key::RECEIPT };
            let message = Message { mandatory: id % 2 == 0, ..message(key, &(round * 1000 + id)) };
            let expected = if unbound && message.mandatory { Err(PublishError::Returned) } else { Ok(()) };
            tokio::spawn(async move { assert_eq!(broker.publish(message).await, expected, "{id}") })
        });
        for published in publishing.collect::<Vec<_>>() {
            published.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_fails_at_once_while_the_broker_is_unreachable() {
    let vhost = Vhost::new();
    let relay = Relay::start(vhost.upstream()).await;
    let broker = publisher(vhost.url_by(relay.addr())).await;
    relay.refuse(true);
    relay.cut();
    let up = wait_for_connections(&broker, |up| !up.publishing() && up.problem().is_some()).await;
    assert!(up.problem().unwrap().contains("RabbitMQ"), "{up:?}");
    let refused = timeout(SILENCE, broker.publish(job("a"))).await.unwrap();
    assert_eq!(refused, Err(PublishError::Unreachable));
    relay.refuse(false);
    wait_for_connections(&broker, |up| up.publishing() && up.problem().is_none()).await;
    assert_eq!(broker.publish(job("b")).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_confirms_publishers_time_out_and_the_number_of_messages_is_bounded() {
    let vhost = Vhost::new();
    let relay = Relay::start(vhost.upstream()).await;
    let limits = Settings {
        publish_timeout: Duration::from_millis(300),
        max_outstanding: 5,
        ..settings(&vhost.url_by(relay.addr()))
    };
    let broker = Broker::start(limits, CancellationToken::new());
    wait_for_connections(&broker, ConnectionStates::publishing).await;
    relay.stall();
    let publishing: Vec<_> = (0..50)
        .map(|id| {
            let broker = broker.clone();
            tokio::spawn(async move { timeout(Duration::from_secs(2), broker.publish(job(&id))).await })
        })
        .collect();
    for published in publishing {
        assert_eq!(published.await.unwrap().unwrap(), Err(PublishError::TimedOut));
    }
    relay.pass();
    publish_again(&broker, "after").await;
    // Messages with a permit were published late. The others were not published.
    vhost.has_depth(DISPATCH, (6, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_whose_queue_confirms_nothing_delays_only_events() {
    let vhost = Vhost::new();
    let few = Settings {
        publish_timeout: Duration::from_millis(500),
        max_outstanding: 5,
        ..settings(&vhost.url())
    };
    let broker = Broker::start(few, CancellationToken::new());
    wait_for_connections(&broker, |up| up.publishing() && up.publishing_events()).await;
    let (_connection, channel) = lapin(&vhost).await;
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("t.sub".into(), durable, quorum).await.unwrap();
    let (all, plain) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind("t.sub".into(), "otpost.events".into(), "#".into(), all, plain).await.unwrap();
    let event =
        |id: &str| Message { exchange: Exchange::Events, mandatory: false, ..message("dispatch.sent", id) };

    vhost.set_suspended("t.sub", true);
    for id in 0..10 {
        assert_eq!(broker.publish(event(&id.to_string())).await, Err(PublishError::TimedOut));
        assert_eq!(broker.publish(job(&id)).await, Ok(()));
    }
    vhost.set_suspended("t.sub", false);
    until("events are published again", async || broker.publish(event("after")).await.is_ok()).await;
}

/// If a channel's first message comes while a queue has lost its leader, RabbitMQ 3.10 refuses all messages of the channel. Here a full
/// queue refuses those of one kind.
///
/// Fails if a refusal opens no new channel, or if messages of another kind are lost or fail meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn refused_messages_open_a_new_channel() {
    let vhost = Vhost::new();
    let broker = publisher(vhost.url()).await;
    let (_connection, channel) = lapin(&vhost).await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare("t.full".into(), QueueDeclareOptions::default(), full).await.unwrap();
    let (key, plain) = ("dispatch.sent".into(), FieldTable::default());
    let binding = QueueBindOptions::default();
    channel.queue_bind("t.full".into(), "otpost.events".into(), key, binding, plain).await.unwrap();
    let event = |state: &str| Message {
        exchange: Exchange::Events,
        mandatory: false,
        ..message(&format!("dispatch.{state}"), "event")
    };
    assert_eq!(broker.publish(event("failed")).await, Ok(()));
    let before = vhost.confirming_channels();

    until("the queue is full", async || broker.publish(event("sent")).await == Err(PublishError::Refused))
        .await;
    until("there is a new channel", async || {
        assert_eq!(broker.publish(event("sent")).await, Err(PublishError::Refused));
        assert_eq!(broker.publish(event("failed")).await, Ok(()), "another kind is not refused");
        vhost.confirming_channels().iter().any(|channel| !before.contains(channel))
    })
    .await;
    channel.queue_purge("t.full".into(), lapin::options::QueuePurgeOptions::default()).await.unwrap();
    assert_eq!(broker.publish(event("sent")).await, Ok(()));
    until("the former channel is closed", async || vhost.confirming_channels().len() == before.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_consumption_brings_no_delivery_and_held_ones_can_be_acked() {
    let vhost = Vhost::new();
    let mut worker = Running::up_with(settings(&vhost.url()), 10).await;
    for id in 0..30 {
        worker.broker.publish(job(&id)).await.unwrap();
    }
    let mut held = worker.take(4).await;
    worker.may_consume.send_replace(false);
    worker.receives_nothing().await;
    vhost.has_depth(DISPATCH, (20, 10)).await;
    held.drain(..).for_each(Delivery::ack);
    // The other six are buffered and unacknowledged. No delivery fills the four free places.
    vhost.has_depth(DISPATCH, (20, 6)).await;
    assert!(worker.broker.watch().borrow().consuming());
    worker.may_consume.send_replace(true);
    let held = worker.take(10).await;
    worker.receives_nothing().await;
    vhost.has_depth(DISPATCH, (16, 10)).await;
    assert!(held.iter().all(|delivery| delivery.delivery_count == 0), "no message was requeued");
    held.into_iter().for_each(Delivery::ack);
    worker.take(10).await.into_iter().for_each(Delivery::ack);
    worker.take(6).await.into_iter().for_each(Delivery::ack);
    vhost.has_depth(DISPATCH, (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_holds_exactly_its_prefetch_after_pauses() {
    let vhost = Vhost::new();
    let mut worker = Running::up_with(settings(&vhost.url()), 10).await;
    for id in 0..60 {
        worker.broker.publish(job(&id)).await.unwrap();
    }
    let mut held = worker.take(10).await;
    for acked in [0, 2, 6] {
        worker.may_consume.send_replace(false);
        worker.receives_nothing().await;
        held.drain(..acked).for_each(Delivery::ack);
        worker.may_consume.send_replace(true);
        held.extend(worker.take(acked).await);
        worker.receives_nothing().await;
    }
    assert_eq!(held.len(), 10);
    for _ in 0..3 {
        held.drain(..).for_each(Delivery::ack);
        held = worker.take(10).await;
        worker.receives_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_reported_until_it_is_deleted() {
    let vhost = Vhost::new();
    let (connection, channel) = lapin(&vhost).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(DISPATCH.into(), options, FieldTable::default()).await.unwrap();
    let mut worker = Running::start(settings(&vhost.url()), 100);
    let up = wait_for_connections(&worker.broker, |up| up.problem().is_some()).await;
    let problem = up.problem().unwrap();
    assert!(problem.contains("queue otpost.dispatch") && problem.contains("406"), "{problem}");
    assert!(!up.publishing() && !up.consuming());
    assert_eq!(
        Broker::declare(&nodes(&vhost.url()), true).await,
        Err(BrokerError::OtherArguments(Operation::Queue(DISPATCH)))
    );
    connection.close(200, "OK".into()).await.unwrap();
    vhost.ctl("delete_queue", &[DISPATCH]);
    wait_for_connections(&worker.broker, |up| up.publishing() && up.consuming() && up.problem().is_none())
        .await;
    worker.broker.publish(job("a")).await.unwrap();
    worker.next().await.ack();
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_messages_are_acked_in_few_frames() {
    /// Size of an ack frame in bytes.
    const ACK: u64 = 21;
    let vhost = Vhost::new();
    let publisher = publisher(vhost.url()).await;
    let relay = Relay::start(vhost.upstream()).await;
    let mut worker = Running::up(settings(&vhost.url_by(relay.addr()))).await;
    let before = relay.counts().bytes_to_upstream;
    let publishing = tokio::spawn(async move {
        let publishing: Vec<_> = (0..5000)
            .map(|id| {
                let publisher = publisher.clone();
                tokio::spawn(async move { publish_again(&publisher, &id).await })
            })
            .collect();
        for published in publishing {
            published.await.unwrap();
        }
    });
    let mut arrived = HashSet::new();
    while arrived.len() < 5000 {
        let first = worker.next().await;
        let mut held = vec![first];
        while let Ok(Some(delivery)) = timeout(Duration::from_millis(1), worker.deliveries.next()).await {
            held.push(delivery);
        }
        // Acknowledge out of order, as real work does.
        held.reverse();
        for delivery in held {
            arrived.insert(name(&delivery));
            delivery.ack();
        }
    }
    publishing.await.unwrap();
    vhost.has_depth(DISPATCH, (0, 0)).await;
    let sent = relay.counts().bytes_to_upstream - before;
    assert!(sent < 5000 * ACK / 2, "{sent} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_shutdown_no_delivery_arrives_and_held_ones_can_be_acked() {
    let vhost = Vhost::new();
    let mut worker = Running::up_with(settings(&vhost.url()), 10).await;
    for id in 0..30 {
        worker.broker.publish(job(&id)).await.unwrap();
    }
    let mut held = worker.take(4).await;
    worker.shutdown.cancel();
    assert!(worker.next_or_end().await.is_none());
    // Buffered deliveries go back at once, for other workers. A delivery that a worker holds stays.
    for _ in 0..6 {
        timeout(TIMEOUT, worker.deliveries.next_left()).await.unwrap().unwrap().requeue();
    }
    vhost.has_depth(DISPATCH, (26, 4)).await;
    worker.broker.publish(job("published after shutdown")).await.unwrap();
    held.drain(..3).for_each(Delivery::ack);
    vhost.has_depth(DISPATCH, (27, 1)).await;
    let last = held.pop().unwrap();
    let mut closing = tokio::spawn(worker.broker.close());
    assert!(timeout(SILENCE, &mut closing).await.is_err(), "a worker still holds a delivery");
    last.ack();
    assert!(timeout(TIMEOUT, worker.deliveries.next_left()).await.unwrap().is_none());
    timeout(Duration::from_secs(5), closing).await.unwrap().unwrap();
    vhost.has_depth(DISPATCH, (27, 0)).await;
    let connections = vhost_connections(&vhost);
    assert!(connections.is_empty(), "{connections}");
}

fn vhost_connections(vhost: &Vhost) -> String {
    let (_, name) = vhost.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let all = rabbit::node::rabbitmqctl(&["list_connections", "vhost", "--no-table-headers"]);
    all.lines().filter(|line| line.trim() == name).collect()
}

impl Running {
    async fn next_or_end(&mut self) -> Option<Delivery> {
        timeout(TIMEOUT, self.deliveries.next()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_shutdown_a_dropped_delivery_is_requeued_and_delays_nothing() {
    let vhost = Vhost::new();
    let mut worker = Running::up(settings(&vhost.url())).await;
    worker.broker.publish(job("a")).await.unwrap();
    let delivery = worker.next().await;
    worker.shutdown.cancel();
    drop(delivery);
    timeout(Duration::from_secs(5), worker.stop()).await.unwrap();
    vhost.has_depth(DISPATCH, (1, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_completes_while_the_broker_is_unreachable() {
    let vhost = Vhost::new();
    let relay = Relay::start(vhost.upstream()).await;
    relay.refuse(true);
    let worker = Running::start(settings(&vhost.url_by(relay.addr())), 100);
    // By now the pauses between two connection attempts exceed three seconds.
    until("both sides have tried often", async || relay.counts().refused >= 12).await;
    timeout(Duration::from_secs(2), worker.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn declaring_is_repeatable_and_a_check_finds_missing_objects() {
    let vhost = Vhost::new();
    assert_eq!(
        Broker::declare(&nodes(&vhost.url()), false).await,
        Err(BrokerError::Missing(Operation::Exchange(JOBS)))
    );
    Broker::declare(&nodes(&vhost.url()), true).await.unwrap();
    Broker::declare(&nodes(&vhost.url()), true).await.unwrap();
    Broker::declare(&nodes(&vhost.url()), false).await.unwrap();
    let mut worker = Running::up(Settings { declare: false, ..settings(&vhost.url()) }).await;
    worker.broker.publish(job("a")).await.unwrap();
    worker.next().await.ack();
    for queue in [DEAD, RETURNED] {
        vhost.ctl("delete_queue", &[queue]);
        let missing = Broker::declare(&nodes(&vhost.url()), false).await.unwrap_err();
        assert_eq!(missing, BrokerError::Missing(Operation::Queue(queue)));
        assert!(missing.to_string().contains("run `otpost migrate`"), "{missing}");
        Broker::declare(&nodes(&vhost.url()), true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_url_is_reported_without_quoting_it() {
    let vhost = Vhost::new();
    let url = vhost.url();
    let gone = Relay::start(vhost.upstream()).await.addr();
    let wrong = [
        (url.replace(":guest@", ":hunter2@"), BrokerError::LoginRejected(403)),
        (format!("{url}-elsewhere"), BrokerError::LoginRejected(530)),
        (vhost.url_by(gone), BrokerError::Unreachable("connection refused")),
        (url.replace("amqp:", "amqps:"), BrokerError::Unreachable("the TLS handshake failed")),
    ];
    for (url, expected) in wrong {
        let error = Broker::declare(&nodes(&url), true).await.unwrap_err();
        assert_eq!(error, expected, "{url}");
        let text = error.to_string();
        assert!(
            !text.contains("hunter2") && !text.contains("elsewhere") && !text.contains("127.0.0.1"),
            "{text}"
        );
    }
}
