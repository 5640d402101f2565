//! One connection with one channel: how it comes about, what is heard of it, how it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::problem::{Asked, BrokerError};
use super::{ASKING, topology};

/// For a connection to come about. lapin's own has no limit.
const CONNECTING: Duration = Duration::from_secs(5);
/// For an orderly end; after that the connection is dropped.
const CLOSING: Duration = Duration::from_secs(3);
/// Seconds between heartbeats, unless the URL says otherwise: a peer that is silent for twice that long is gone.
const HEARTBEAT: u16 = 10;
/// A connection whose end was not reported is found by looking this often.
const LOOKING: Duration = Duration::from_secs(1);
/// Whether everything that was declared is still there is asked this often: an exchange goes without a word.
const STILL_THERE: Duration = Duration::from_secs(15);

/// What is heard of a connection.
pub(super) enum News {
    Blocked,
    Unblocked,
    Ended(BrokerError),
}

pub(super) struct Link {
    connection: Arc<Connection>,
    pub(super) channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    looking: Interval,
    /// Ends when something is missing.
    missing: BoxFuture<'static, BrokerError>,
    purpose: Asked,
}

impl Link {
    /// Connects, opens the channel, and sees to the topology.
    pub(super) async fn open(url: &str, declare: bool, purpose: Asked) -> Result<Self, BrokerError> {
        let mut uri: AMQPUri = url.parse().map_err(|_| BrokerError::Url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let name = match purpose {
            Asked::Consumer(_) => "otpost consuming",
            Asked::Publishing => "otpost publishing",
            Asked::Telling => "otpost telling",
            Asked::Listening => "otpost listening",
            _ => "otpost declaring",
        };
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connection = timeout(CONNECTING, Connection::connect_uri(uri, properties))
            .await
            .map_err(|_| BrokerError::Unreachable("timed out"))?
            .map_err(|e| BrokerError::of(&e, Asked::Connection))?;
        let mut looking = interval(LOOKING);
        looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = Box::pin(connection.events_listener());
        let prepared = answered(async {
            let channel =
                connection.create_channel().await.map_err(|e| BrokerError::of(&e, Asked::Connection))?;
            topology::ensure(&channel, declare).await?;
            Ok(channel)
        });
        match prepared.await {
            Ok(channel) => {
                let connection = Arc::new(connection);
                let missing = missing(Arc::clone(&connection)).boxed();
                Ok(Self { connection, channel, events, looking, missing, purpose })
            }
            Err(error) => {
                close(&connection).await;
                Err(error)
            }
        }
    }

    /// Waits for news. To drop it loses none.
    pub(super) async fn news(&mut self) -> News {
        loop {
            let event = tokio::select! {
                event = self.events.next() => event,
                problem = &mut self.missing => return News::Ended(problem),
                _ = self.looking.tick() => {
                    if self.connection.status().connected() && self.channel.status().connected() {
                        continue;
                    }
                    None
                }
            };
            match event {
                Some(Event::ConnectionBlocked(_)) => return News::Blocked,
                Some(Event::ConnectionUnblocked) => return News::Unblocked,
                Some(Event::Error(e)) => return News::Ended(BrokerError::of(&e, self.purpose)),
                Some(_) => {}
                None => return News::Ended(BrokerError::Lost("it ended")),
            }
        }
    }

    /// Ends it in order: what was sent before has arrived when the channel's end is answered.
    pub(super) async fn close(self) {
        let _ = timeout(CLOSING, self.channel.close(200, "OK".into())).await;
        close(&self.connection).await;
    }
}

/// Looks again and again, each time by a channel of its own, because RabbitMQ closes the one that asks for what is not there.
async fn missing(connection: Arc<Connection>) -> BrokerError {
    loop {
        tokio::time::sleep(STILL_THERE).await;
        let looked = answered(async {
            let failed = |e| BrokerError::of(&e, Asked::Listening);
            let channel = connection.create_channel().await.map_err(failed)?;
            topology::ensure(&channel, false).await?;
            channel.close(200, "OK".into()).await.map_err(failed)
        });
        if let Err(problem @ (BrokerError::Missing(_) | BrokerError::OtherArguments(_))) = looked.await {
            return problem;
        }
    }
}

async fn close(connection: &Connection) {
    // Whether it ended in order changes nothing: it is gone.
    let _ = timeout(CLOSING, connection.close(200, "OK".into())).await;
}

/// Gives up what the broker does not answer in time.
pub(super) async fn answered<T>(
    asking: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(ASKING, asking).await.unwrap_or(Err(BrokerError::Lost("no answer came")))
}
