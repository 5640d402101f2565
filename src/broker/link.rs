//! One AMQP connection with its channel: opening it, its events, closing it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{BoxStream, once, unfold};
use futures_util::{Stream, StreamExt};
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::nodes::Nodes;
use super::problem::{BrokerError, Operation};
use super::topology::QueueLengths;
use super::{REQUEST_TIMEOUT, topology};

/// Time limit for connecting, unless the URL sets one. lapin has none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for an orderly close. After it the connection is dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of a frame in bytes: RabbitMQ's own maximum.
const FRAME_MAX: u32 = 128 * 1024;
/// The same for connections that carry otpost's own messages only.
const OWN_FRAME_MAX: u32 = 32 * 1024;
/// Interval at which the connection state is polled, because lapin does not report the end of every connection.
const STATUS_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Interval at which the topology is checked, because RabbitMQ does not report a deleted exchange.
const TOPOLOGY_CHECK_INTERVAL: Duration = Duration::from_secs(15);

/// Counts the connections, to begin each with another node.
static NEXT_NODE: AtomicUsize = AtomicUsize::new(0);

/// An event on a connection.
pub(super) enum LinkEvent {
    Blocked,
    Unblocked,
    /// The topology was checked.
    Checked(QueueLengths),
    Ended(BrokerError),
}

pub(super) struct Link {
    connection: Arc<Connection>,
    pub(super) channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    status_poll: Interval,
    /// The results of the topology checks.
    checks: BoxStream<'static, Result<QueueLengths, BrokerError>>,
    purpose: Operation,
}

impl Link {
    /// Connects to the first of the nodes that answers, opens the channel, and declares or checks the topology. Each call begins with
    /// another node, so the connections are spread.
    pub(super) async fn open(nodes: &Nodes, declare: bool, purpose: Operation) -> Result<Self, BrokerError> {
        let mut uris = nodes.uris.clone();
        let first = NEXT_NODE.fetch_add(1, Ordering::Relaxed) % uris.len();
        uris.rotate_left(first);
        let mut problem = BrokerError::Unreachable("no node is named");
        for uri in uris {
            match Self::open_node(uri, nodes.tls.clone(), declare, purpose).await {
                Ok(link) => return Ok(link),
                Err(e) => problem = e,
            }
        }
        Err(problem)
    }

    async fn open_node(
        mut uri: AMQPUri, tls: OwnedTLSConfig, declare: bool, purpose: Operation,
    ) -> Result<Self, BrokerError> {
        uri.query.frame_max.get_or_insert(frame_max(purpose));
        let name = match purpose {
            Operation::Consumer(_) => "otpost consuming",
            Operation::Publishing => "otpost publishing",
            Operation::PublishingEvents => "otpost publishing events",
            Operation::Listening => "otpost listening",
            _ => "otpost declaring",
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime =
            lapin::runtime::default_runtime().map_err(|e| BrokerError::of(&e, Operation::Connection))?;
        let limit = connect_timeout(&uri);
        let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
        let connection = timeout(limit, connecting)
            .await
            .map_err(|_| BrokerError::Unreachable("timed out"))?
            .map_err(|e| BrokerError::of(&e, Operation::Connection))?;
        let mut status_poll = interval(STATUS_POLL_INTERVAL);
        status_poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = Box::pin(connection.events_listener());
        let prepared = with_timeout(async {
            let channel =
                connection.create_channel().await.map_err(|e| BrokerError::of(&e, Operation::Connection))?;
            let lengths = topology::ensure(&channel, declare).await?;
            Ok((channel, lengths))
        });
        match prepared.await {
            Ok((channel, lengths)) => {
                let connection = Arc::new(connection);
                let checks = check_topology(Arc::clone(&connection), declare, lengths).boxed();
                Ok(Self { connection, channel, events, status_poll, checks, purpose })
            }
            Err(error) => {
                close(&connection).await;
                Err(error)
            }
        }
    }

    /// Opens a new channel. The former one is closed with its last clone.
    pub(super) async fn replace_channel(&mut self) -> Result<(), BrokerError> {
        let creating =
            async { self.connection.create_channel().await.map_err(|e| BrokerError::of(&e, self.purpose)) };
        self.channel = with_timeout(creating).await?;
        Ok(())
    }

    /// Waits for the next event. This method is cancel safe.
    pub(super) async fn next_event(&mut self) -> LinkEvent {
        loop {
            let event = tokio::select! {
                event = self.events.next() => event,
                Some(checked) = self.checks.next() => {
                    return checked.map_or_else(LinkEvent::Ended, LinkEvent::Checked);
                }
                _ = self.status_poll.tick() => {
                    if self.connection.status().connected() && self.channel.status().connected() {
                        continue;
                    }
                    None
                }
            };
            match event {
                Some(Event::ConnectionBlocked(_)) => return LinkEvent::Blocked,
                Some(Event::ConnectionUnblocked) => return LinkEvent::Unblocked,
                Some(Event::Error(e)) => return LinkEvent::Ended(BrokerError::of(&e, self.purpose)),
                Some(_) => {}
                None => return LinkEvent::Ended(BrokerError::Lost("it ended")),
            }
        }
    }

    /// Closes the channel, then the connection. RabbitMQ confirms the close only after it has received everything that was sent
    /// before.
    pub(super) async fn close(self) {
        let _ = timeout(CLOSE_TIMEOUT, self.channel.close(200, "OK".into())).await;
        close(&self.connection).await;
    }
}

/// The time limit for connecting to a node.
fn connect_timeout(uri: &AMQPUri) -> Duration {
    uri.query.connection_timeout.map_or(CONNECT_TIMEOUT, Duration::from_millis)
}

/// The maximum size of a frame, unless the URL sets one. lapin has two buffers of 32 frames for each connection. It fills them with zeros if
/// it learns the size from RabbitMQ, so each connection names a size. The buffers of later connections reuse memory, which is filled with
/// zeros too. A message's header must fit into a frame, so connections that receive messages of others use RabbitMQ's maximum.
fn frame_max(purpose: Operation) -> u32 {
    match purpose {
        Operation::Publishing
        | Operation::PublishingEvents
        | Operation::Listening
        | Operation::Consumer(topology::RECEIPTS) => OWN_FRAME_MAX,
        _ => FRAME_MAX,
    }
}

/// Checks the topology periodically. `first` is the result of the check at the connection's start. Each check uses a new channel, because
/// RabbitMQ closes the channel on a failed passive declare.
fn check_topology(
    connection: Arc<Connection>, declare: bool, first: QueueLengths,
) -> impl Stream<Item = Result<QueueLengths, BrokerError>> + Send {
    let later = unfold(connection, move |connection| async move {
        loop {
            tokio::time::sleep(TOPOLOGY_CHECK_INTERVAL).await;
            match with_timeout(check_once(&connection, declare)).await {
                Ok(lengths) => return Some((Ok(lengths), connection)),
                Err(problem @ (BrokerError::Missing(_) | BrokerError::OtherArguments(_))) => {
                    return Some((Err(problem), connection));
                }
                Err(_) => {} // other events report the end of a connection
            }
        }
    });
    once(async { Ok(first) }).chain(later)
}

async fn check_once(connection: &Connection, declare: bool) -> Result<QueueLengths, BrokerError> {
    let failed = |e| BrokerError::of(&e, Operation::Listening);
    let channel = connection.create_channel().await.map_err(failed)?;
    let lengths = topology::ensure(&channel, false).await?;
    if declare {
        topology::remove_former_bindings(&channel).await?;
    }
    channel.close(200, "OK".into()).await.map_err(failed)?;
    Ok(lengths)
}

async fn close(connection: &Connection) {
    // The connection is dropped next, so a failed close does not matter.
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "OK".into())).await;
}

/// Applies the time limit `REQUEST_TIMEOUT` to a request to RabbitMQ.
pub(super) async fn with_timeout<T>(
    request: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(REQUEST_TIMEOUT, request).await.unwrap_or(Err(BrokerError::Lost("no answer came")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CONNECT_TIMEOUT, Nodes, connect_timeout};

    #[test]
    fn the_url_may_set_the_time_limit_for_connecting() {
        for (url, limit) in [
            ("amqp://h", CONNECT_TIMEOUT),
            ("amqp://h?connection_timeout=250", Duration::from_millis(250)),
            ("amqp://h?connection_timeout=20000", Duration::from_secs(20)),
        ] {
            let nodes = Nodes::parse(url, None).unwrap_or_else(|why| panic!("{url}: {why}"));
            assert_eq!(connect_timeout(&nodes.uris[0]), limit, "{url}");
        }
    }
}
