//! Reads the messages of a queue without consuming them. A message is deleted only by [`Browse::remove`].

use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::AMQPValue;
use tokio::time::timeout;

use super::link::{Link, answered};
use super::problem::{Asked, BrokerError};
use super::{ASKING, topology};

/// A queue that is being read. RabbitMQ requeues every message that was not removed when this value is closed or dropped.
pub struct Browse {
    link: Link,
}

/// A message read from the queue.
pub struct Found {
    /// The body.
    pub body: Vec<u8>,
    /// The AMQP property `message_id`; empty when absent.
    pub message_id: String,
    /// The AMQP property `timestamp`, in Unix seconds.
    pub published_at: Option<i64>,
    /// Number of messages behind this one in the queue.
    pub behind: u32,
    headers: Vec<(String, String)>,
    tag: u64,
}

impl Found {
    /// The value of a string header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Browse {
    /// Connects and starts at the head of `otpost.dead`.
    pub async fn dead(url: &str) -> Result<Self, BrokerError> {
        Ok(Self { link: Link::open(url, false, Asked::Queue(topology::DEAD)).await? })
    }

    /// Returns the next message, or `None` at the end of the queue.
    pub async fn next(&mut self) -> Result<Option<Found>, BrokerError> {
        let failed = |e| BrokerError::of(&e, Asked::Queue(topology::DEAD));
        let getting = self.link.channel.basic_get(topology::DEAD.into(), BasicGetOptions::default());
        let got = answered(async { getting.await.map_err(failed) }).await?;
        Ok(got.map(|got| {
            let (behind, message) = (got.message_count, got.delivery);
            let headers = message.properties.headers().as_ref().map(|table| {
                table.inner().iter().filter_map(|(name, value)| match value {
                    AMQPValue::LongString(text) => {
                        Some((name.to_string(), String::from_utf8_lossy(text.as_bytes()).into_owned()))
                    }
                    _ => None,
                })
            });
            Found {
                headers: headers.into_iter().flatten().collect(),
                message_id: message
                    .properties
                    .message_id()
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
                published_at: message.properties.timestamp().and_then(|at| i64::try_from(at).ok()),
                body: message.data,
                behind,
                tag: message.delivery_tag,
            }
        }))
    }

    /// Deletes a message from the queue by acknowledging it.
    pub async fn remove(&mut self, found: &Found) -> Result<(), BrokerError> {
        let failed = |e| BrokerError::of(&e, Asked::Queue(topology::DEAD));
        let acking = self.link.channel.basic_ack(found.tag, BasicAckOptions::default());
        timeout(ASKING, acking).await.map_err(|_| BrokerError::Lost("no answer came"))?.map_err(failed)?;
        Ok(())
    }

    /// Closes the connection in order. RabbitMQ then requeues every message that was not removed.
    pub async fn close(self) {
        self.link.close().await;
    }
}
