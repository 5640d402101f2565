//! Receives every event that is published after the start, through an exclusive queue that RabbitMQ deletes with the connection.

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::link::{Link, LinkEvent, with_timeout};
use super::monitor::{ConnectionKind, ConnectionMonitor};
use super::problem::{BrokerError, Operation};
use super::topology::EVENTS;

/// Maximum length of the event queue of this process. RabbitMQ drops the oldest events above it.
const MAX_LISTENER_QUEUE_LENGTH: i32 = 10_000;

/// Runs one listening connection until it fails. Returns `Ok` after `stop`.
pub(super) async fn run(
    settings: &Settings, received: &broadcast::Sender<Vec<u8>>, monitor: &ConnectionMonitor,
    stop: &CancellationToken,
) -> Result<(), BrokerError> {
    let mut link = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        link = Link::open(&settings.nodes, settings.declare, Operation::Listening) => link?,
    };
    let failed = |e| BrokerError::of(&e, Operation::Listening);
    let mut events = with_timeout(async {
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let mut limits = FieldTable::default();
        limits.insert("x-max-length".into(), AMQPValue::LongInt(MAX_LISTENER_QUEUE_LENGTH));
        let queue = link.channel.queue_declare("".into(), options, limits).await.map_err(failed)?;
        let (bound, none) = (QueueBindOptions::default(), FieldTable::default());
        link.channel
            .queue_bind(queue.name().clone(), EVENTS.into(), "dispatch.#".into(), bound, none)
            .await
            .map_err(failed)?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            link.channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default());
        consumer.await.map_err(failed)
    })
    .await?;
    monitor.up(ConnectionKind::Listening);
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                link.close().await;
                return Ok(());
            }
            event = events.next() => match event {
                // A full channel drops its oldest event, and the receiver gets the number of dropped events.
                Some(Ok(event)) => drop(received.send(event.data)),
                Some(Err(e)) => return Err(failed(e)),
                None => return Err(BrokerError::Cancelled("a queue of this process's own")),
            },
            event = link.next_event() => if let LinkEvent::Ended(problem) = event {
                return Err(problem);
            },
        }
    }
}
