//! One AMQP connection with one channel: opening it, its events, closing it.

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

/// Time limit for connecting. lapin has none.
const CONNECTING: Duration = Duration::from_secs(5);
/// Time limit for an orderly close. After it the connection is dropped.
const CLOSING: Duration = Duration::from_secs(3);
/// Heartbeat interval in seconds, unless the URL sets one. A peer that is silent for twice this time is considered dead.
const HEARTBEAT: u16 = 10;
/// Interval at which the connection state is polled, because lapin does not report the end of every connection.
const LOOKING: Duration = Duration::from_secs(1);
/// Interval at which the topology is checked, because RabbitMQ does not report a deleted exchange.
const STILL_THERE: Duration = Duration::from_secs(15);

/// An event on a connection.
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
    /// Completes when an exchange or a queue is missing.
    missing: BoxFuture<'static, BrokerError>,
    purpose: Asked,
}

impl Link {
    /// Connects, opens the channel, and declares or checks the topology.
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

    /// Waits for the next event. This method is cancel safe.
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

    /// Closes the channel, then the connection. When RabbitMQ confirms the channel's close, it has received everything sent
    /// before.
    pub(super) async fn close(self) {
        let _ = timeout(CLOSING, self.channel.close(200, "OK".into())).await;
        close(&self.connection).await;
    }
}

/// Checks the topology periodically. Each check uses a new channel, because RabbitMQ closes the channel on a failed passive
/// declare.
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
    // The connection is dropped next, so a failed close does not matter.
    let _ = timeout(CLOSING, connection.close(200, "OK".into())).await;
}

/// Applies the time limit `ASKING` to a request to RabbitMQ.
pub(super) async fn answered<T>(
    asking: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(ASKING, asking).await.unwrap_or(Err(BrokerError::Lost("no answer came")))
}
