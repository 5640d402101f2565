//! Tests publishing while `RabbitMQ`'s memory alarm is on. The alarm stops every publisher of the node, so
//! this test runs alone.

#[path = "support/rabbit.rs"]
#[expect(dead_code, reason = "each test binary uses its own part")]
mod rabbit;

use std::time::Duration;

use otpost::broker::topology::{DISPATCH, key};
use otpost::broker::{Broker, ConsumedQueue, Exchange, Message, Nodes, PublishError, Settings};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use rabbit::node::Alarm;
use rabbit::wait::until;
use rabbit::{TIMEOUT, Vhost};

fn job(id: usize) -> Message {
    Message {
        exchange: Exchange::Otpost,
        routing_key: key::DISPATCH.to_owned(),
        body: vec![],
        message_id: id.to_string(),
        kind: "otpost.job",
        content_type: "application/json",
        headers: vec![],
        user_id: None,
        expiration: None,
        mandatory: true,
    }
}

/// Fails if messages are accepted for a blocked connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_publish_fails_and_acks_still_work() {
    let vhost = Vhost::new();
    let (_may_consume, may) = watch::channel(true);
    let settings = Settings {
        nodes: Nodes::parse(&vhost.url(), None).unwrap(),
        declare: true,
        linger: Duration::from_secs(20),
        publish_timeout: Duration::from_secs(1),
        max_outstanding: 100,
    };
    let broker = Broker::start(settings, CancellationToken::new());
    let mut intake = broker.consume(ConsumedQueue::Dispatch, 10, may);
    let mut connections = broker.watch();
    timeout(TIMEOUT, connections.wait_for(|up| up.publishing() && up.consuming()))
        .await
        .expect("in time")
        .expect("open");
    broker.publish(job(0)).await.expect("the connection is not blocked yet");
    let held = timeout(TIMEOUT, intake.next()).await.expect("in time").expect("a delivery");

    let alarm = Alarm::Memory.on();
    // RabbitMQ reports a block to a connection when that connection publishes.
    let mut id = 0;
    let refused = async || {
        id += 1;
        broker.publish(job(id)).await == Err(PublishError::Unreachable)
    };
    until("publishers are refused", refused).await;
    let up = connections.borrow_and_update().clone();
    assert!(!up.publishing() && up.consuming(), "{up:?}");
    assert!(up.problem().is_some_and(|problem| problem.contains("alarm")), "{up:?}");
    held.ack();
    while let Ok(Some(delivery)) = timeout(Duration::from_millis(300), intake.next()).await {
        delivery.ack();
    }
    vhost.has_depth(DISPATCH, (0, 0)).await;

    drop(alarm);
    timeout(TIMEOUT, connections.wait_for(|up| up.publishing() && up.problem().is_none()))
        .await
        .expect("in time")
        .expect("open");
    broker.publish(job(1_000_000)).await.expect("publishing works again");
}
