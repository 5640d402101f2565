//! `RabbitMQ`. No other folder knows lapin.
//!
//! Comes in: messages from queues, as [`Delivery`] after [`Delivery`] of an [`Intake`]. Goes out: confirmed publishes. Nothing here
//! reads the body of a message.
//!
//! One task per connection rebuilds it after any error and never gives up. There is one connection for publishing, so that a broker
//! which blocks publishers does not delay acknowledgements; one for events, so that a full subscriber queue delays events only; one for
//! each consumed queue; and one for listening to events. A worker acknowledges a delivery after the ledger has committed it.

mod acks;
mod browsing;
mod consuming;
mod gate;
mod in_flight;
mod intake;
mod link;
mod listening;
mod message;
mod problem;
mod publishing;
mod standing;
pub mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use browsing::{Browse, Found};
pub use intake::{Delivery, Intake, Lane};
pub use message::{Exchange, Message};
pub use problem::{Asked, BrokerError};
pub use standing::Up;

use consuming::Wish;
use gate::PublishGate;
use intake::Shelf;
use link::Link;
use standing::{Side, Standing};

/// For what is asked of the broker. To make a quorum queue takes a loaded cluster seconds.
const ASKING: Duration = Duration::from_secs(20);

/// How the broker is reached and used.
#[derive(Clone)]
pub struct Settings {
    /// `amqp://` or `amqps://`, with user, password and vhost. A heartbeat of 10 s unless `?heartbeat=` says otherwise.
    pub url: String,
    /// Whether to declare exchanges, queues and bindings. Otherwise they are only looked for.
    pub declare: bool,
    /// How long what is held can still be acked and published after `shutdown`.
    pub linger: Duration,
    /// How long a publisher waits for its confirm, the wait for a place among the outstanding included.
    pub publish_timeout: Duration,
    /// Messages that are published and not confirmed at most; 0 counts as 1.
    pub max_outstanding: usize,
}

impl fmt::Debug for Settings {
    /// Without the URL: it holds a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("declare", &self.declare).finish_non_exhaustive()
    }
}

/// Why a message does not count as published. To publish it again is right for all but `Unfit`, and may double it after
/// `Lost` and `TimedOut`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It was not sent.
    #[error("RabbitMQ is away or blocks publishers")]
    Away,
    /// It was mandatory and came back: some binding is missing.
    #[error("no queue of RabbitMQ takes a message with this routing key; run `otpost migrate`")]
    Returned,
    /// The broker answered with a nack: a queue is full, or failed.
    #[error("RabbitMQ did not accept the message")]
    Refused,
    /// Nobody knows whether it arrived.
    #[error("the connection to RabbitMQ was lost before it confirmed the message")]
    Lost,
    /// Nobody knows whether it arrived, or will.
    #[error("RabbitMQ did not confirm the message in time")]
    TimedOut,
    /// A routing key, id or header name is longer than AMQP's 255 bytes.
    #[error("a name in the message is longer than 255 bytes")]
    Unfit,
}

/// The way to the broker. Clones share the same connections.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    shutdown: CancellationToken,
    publishing: Arc<PublishGate>,
    telling: Arc<PublishGate>,
    standing: Arc<Standing>,
    tasks: TaskTracker,
    closing: CancellationToken,
    /// Ends the publishing sides when the last clone is gone.
    _last: DropGuard,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("up", &*self.watch().borrow()).finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts the tasks that keep the connections for publishing and for telling up, and returns at once.
    ///
    /// At `shutdown` consuming stops first; what is held can still be acked for `linger`, and published as long, or until
    /// [`Broker::close`].
    pub fn start(settings: Settings, shutdown: CancellationToken) -> Self {
        let settings = Arc::new(settings);
        let standing = Arc::new(Standing::new());
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();

        let [publishing, telling] = [Side::Publishing, Side::Telling].map(|side| {
            let door = Arc::new(PublishGate::new(&settings));
            let behind = (Arc::clone(&settings), Arc::clone(&door), Arc::clone(&standing), closing.clone());
            tasks.spawn(async move {
                let (settings, door, standing, stop) = behind;
                let live = || publishing::live(&settings, side, &door, &standing, &stop);
                standing.keep(side, &stop, live).await;
            });
            door
        });
        let (asked, closed, linger) = (shutdown.clone(), closing.clone(), settings.linger);
        tasks.spawn(async move {
            let lingering = async {
                asked.cancelled().await;
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
            telling,
            standing,
            tasks,
            shutdown,
            closing,
            _last: last,
        }))
    }

    /// Consumes a queue by a connection of its own, and holds at most `prefetch` deliveries; 0 counts as 1. It consumes
    /// only while `may_consume` is true.
    pub fn consume(&self, lane: Lane, prefetch: u16, may_consume: watch::Receiver<bool>) -> Intake {
        let waiting = Arc::new(Shelf::default());
        let shutdown = self.0.shutdown.clone();
        let intake = Intake {
            shelf: Arc::clone(&waiting),
            may_consume: may_consume.clone(),
            shutdown: shutdown.clone(),
        };
        let (settings, standing) = (Arc::clone(&self.0.settings), Arc::clone(&self.0.standing));
        self.0.tasks.spawn(async move {
            let wish = Wish { lane, prefetch };
            let live =
                || consuming::live(&settings, wish, &waiting, may_consume.clone(), &standing, &shutdown);
            standing.keep(Side::Consuming(lane), &shutdown, live).await;
        });
        intake
    }

    /// Hears every event from now on, whoever tells it. What does not fit into `heard` is dropped.
    pub fn listen(&self, heard: mpsc::Sender<Vec<u8>>) {
        let (settings, standing) = (Arc::clone(&self.0.settings), Arc::clone(&self.0.standing));
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            let live = || listening::live(&settings, &heard, &standing, &shutdown);
            standing.keep(Side::Listening, &shutdown, live).await;
        });
    }

    /// Declares everything once, or with `declare` false looks whether it is there, on a connection of its own.
    pub async fn declare(url: &str, declare: bool) -> Result<(), BrokerError> {
        Link::open(url, declare, Asked::Connection).await?.close().await;
        Ok(())
    }

    /// What [`Broker::declare`] makes, as text: exchanges, queues with their arguments, bindings.
    pub fn topology() -> String {
        topology::describe()
    }

    /// Publishes a message. Ok only when the broker confirmed it, and a queue has it if it is `mandatory`.
    ///
    /// Refused at once while the broker is away or blocks publishers, so that nothing piles up.
    pub async fn publish(&self, message: Message) -> Result<(), PublishError> {
        let door = match message.exchange {
            Exchange::Otpost => &self.0.publishing,
            Exchange::Events => &self.0.telling,
        };
        door.publish(message).await
    }

    /// Follows how it stands.
    pub fn watch(&self) -> watch::Receiver<Up> {
        self.0.standing.watch()
    }

    /// Ends publishing and waits until all connections are closed. To be called last, after `shutdown` was cancelled: a
    /// worker's side ends only then.
    pub async fn close(self) {
        self.0.closing.cancel();
        self.0.tasks.wait().await;
    }
}
