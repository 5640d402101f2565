//! `RabbitMQ`. No other folder knows lapin.
//!
//! Comes in: messages from queues, as a stream of [`Delivery`] ([`Deliveries`]). Goes out: confirmed publishes. Nothing
//! here reads the body of a message.
//!
//! One task per connection reconnects after every error, without limit. There is one connection for publishing, so that a
//! broker which blocks publishers does not delay acknowledgements. There is one for events, so that a full subscriber queue
//! delays events only. Each consumed queue has its own connection, and the subscription to events has one more. A worker
//! acknowledges a delivery after the ledger has committed it.

mod acks;
mod browsing;
mod consuming;
mod deliveries;
mod gate;
mod in_flight;
mod link;
mod listening;
mod message;
mod monitor;
mod nodes;
mod problem;
mod publishing;
pub mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use browsing::{BrowsedMessage, QueueBrowser};
pub use deliveries::{ConsumedQueue, Death, Deliveries, Delivery};
pub use message::{Exchange, Message};
pub use monitor::{ConnectionCount, ConnectionStates};
pub use nodes::Nodes;
pub use problem::{BrokerError, Operation};

use consuming::ConsumerOptions;
use deliveries::DeliveryBuffer;
use gate::PublishGate;
use link::Link;
use monitor::{ConnectionKind, ConnectionMonitor};
use topology::QueueLengths;

/// Time limit for one request to RabbitMQ. Declaring a quorum queue takes seconds on a loaded cluster.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Connection settings of RabbitMQ.
#[derive(Clone)]
pub struct Settings {
    /// The nodes to connect to.
    pub nodes: Nodes,
    /// Whether to declare exchanges, queues and bindings. Otherwise only the existence of exchanges and queues is checked.
    pub declare: bool,
    /// How long held deliveries can still be acknowledged, and messages published, after `shutdown`.
    pub linger: Duration,
    /// How long a publisher waits for its confirm, including the wait for a permit of `max_outstanding`.
    pub publish_timeout: Duration,
    /// Maximum number of unconfirmed messages per publishing connection; 0 counts as 1.
    pub max_outstanding: usize,
}

impl fmt::Debug for Settings {
    /// Leaves out the nodes, which have passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("declare", &self.declare).finish_non_exhaustive()
    }
}

/// Why a publish failed. Retrying is correct for every variant except `NameTooLong`. After `Lost` and `TimedOut` a retry may
/// publish a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// RabbitMQ is unreachable or blocks publishers. The message was not sent.
    #[error("RabbitMQ is unreachable or blocks publishers")]
    Unreachable,
    /// The message was mandatory and no queue took it: a binding is missing.
    #[error("no queue of RabbitMQ takes a message with this routing key; run `otpost migrate`")]
    Returned,
    /// RabbitMQ answered with a nack: a queue is full or has failed.
    #[error("RabbitMQ did not accept the message")]
    Refused,
    /// The connection ended before the confirm. The message may have been published.
    #[error("the connection to RabbitMQ was lost before it confirmed the message")]
    Lost,
    /// The confirm did not arrive in time. The message may have been published, or may still be.
    #[error("RabbitMQ did not confirm the message in time")]
    TimedOut,
    /// A routing key, an id or a header name is longer than AMQP's 255 bytes.
    #[error("a name in the message is longer than 255 bytes")]
    NameTooLong,
}

/// Handle to RabbitMQ. Clones share the connections.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    shutdown: CancellationToken,
    publishing: Arc<PublishGate>,
    publishing_events: Arc<PublishGate>,
    monitor: Arc<ConnectionMonitor>,
    /// The tasks that consume. They end first, because messages are published while they end.
    consumers: TaskTracker,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Stops the publishing connections when the last clone is dropped.
    _last: DropGuard,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("connections", &*self.watch().borrow()).finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts the tasks that maintain the two publishing connections (messages and events), and returns at once.
    ///
    /// `shutdown` stops consuming first. For `linger` after it, held deliveries can still be acknowledged and messages
    /// published. [`Broker::close`] ends publishing earlier.
    pub fn start(settings: Settings, shutdown: CancellationToken) -> Self {
        let settings = Arc::new(settings);
        let monitor = Arc::<ConnectionMonitor>::default();
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();

        let [publishing, publishing_events] = [ConnectionKind::Publishing, ConnectionKind::PublishingEvents]
            .map(|kind| {
                let gate = Arc::new(PublishGate::new(&settings));
                let shared =
                    (Arc::clone(&settings), Arc::clone(&gate), Arc::clone(&monitor), closing.clone());
                tasks.spawn(async move {
                    let (settings, gate, monitor, stop) = shared;
                    let connection = || publishing::run(&settings, kind, &gate, &monitor, &stop);
                    monitor.run_with_reconnect(kind, &stop, connection).await;
                });
                gate
            });
        let (shutting_down, closed, linger) = (shutdown.clone(), closing.clone(), settings.linger);
        tasks.spawn(async move {
            let lingering = async {
                shutting_down.cancelled().await;
                tokio::time::sleep(linger).await;
            };
            tokio::select! {
                () = closed.cancelled() => {}
                () = lingering => closed.cancel(),
            }
        });
        tasks.close();
        let last = closing.clone().drop_guard();
        Self(Arc::new(Inner {
            settings,
            publishing,
            publishing_events,
            monitor,
            consumers: TaskTracker::new(),
            tasks,
            shutdown,
            closing,
            _last: last,
        }))
    }

    /// Consumes a queue on a connection of its own, with at most `prefetch` unacknowledged deliveries; 0 counts as 1. It
    /// consumes only while `may_consume` is true.
    pub fn consume(
        &self, queue: ConsumedQueue, prefetch: u16, may_consume: watch::Receiver<bool>,
    ) -> Deliveries {
        let buffer = Arc::new(DeliveryBuffer::default());
        let shutdown = self.0.shutdown.clone();
        let deliveries = Deliveries {
            buffer: Arc::clone(&buffer),
            may_consume: may_consume.clone(),
            shutdown: shutdown.clone(),
        };
        let (settings, monitor) = (Arc::clone(&self.0.settings), Arc::clone(&self.0.monitor));
        self.0.consumers.spawn(async move {
            let options = ConsumerOptions { queue, prefetch };
            let connection =
                || consuming::run(&settings, options, &buffer, may_consume.clone(), &monitor, &shutdown);
            monitor.run_with_reconnect(ConnectionKind::Consuming(queue), &shutdown, connection).await;
            buffer.close();
        });
        deliveries
    }

    /// Sends the body of every event published from now on, by any process, to `events`. A slow receiver gets the number of
    /// events that it lost.
    pub fn listen(&self, events: broadcast::Sender<Vec<u8>>) {
        let (settings, monitor) = (Arc::clone(&self.0.settings), Arc::clone(&self.0.monitor));
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            let connection = || listening::run(&settings, &events, &monitor, &shutdown);
            monitor.run_with_reconnect(ConnectionKind::Listening, &shutdown, connection).await;
        });
    }

    /// Declares the topology once, on a connection of its own. With `declare` false it checks exchanges and queues only.
    pub async fn declare(nodes: &Nodes, declare: bool) -> Result<(), BrokerError> {
        Link::open(nodes, declare, Operation::Connection).await?.close().await;
        Ok(())
    }

    /// The topology that [`Broker::declare`] creates, as text: exchanges, queues with their arguments, bindings.
    pub fn topology() -> String {
        topology::describe()
    }

    /// Publishes a message. Returns `Ok` only after the publisher confirm. A `mandatory` message has then reached a queue.
    ///
    /// Fails at once while RabbitMQ is unreachable or blocks publishers, so that no backlog builds up.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        let gate = match message.exchange {
            Exchange::Otpost => &self.0.publishing,
            Exchange::Events => &self.0.publishing_events,
        };
        gate.publish(message).await
    }

    /// Subscribes to the connection state.
    pub fn watch(&self) -> watch::Receiver<ConnectionStates> {
        self.0.monitor.watch()
    }

    /// The connections of this process, and how often each was established.
    pub fn connections(&self) -> Vec<ConnectionCount> {
        self.0.monitor.connections()
    }

    /// The lengths of the queues, which are read every 15 s. Empty until the first connection.
    pub fn queue_lengths(&self) -> watch::Receiver<QueueLengths> {
        self.0.monitor.queue_lengths().subscribe()
    }

    /// Waits until no delivery is held, ends publishing, and waits until all connections are closed. Call it last, after `shutdown` was
    /// cancelled: the consuming connections end only then.
    pub async fn close(self) {
        self.0.consumers.close();
        self.0.consumers.wait().await;
        self.0.closing.cancel();
        self.0.tasks.wait().await;
    }
}
