//! Reads the messages of a queue without consuming them. A message is deleted only by [`QueueBrowser::remove`].

use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::AMQPValue;
use tokio::time::timeout;

use super::link::{Link, with_timeout};
use super::nodes::Nodes;
use super::problem::{BrokerError, Operation};
use super::{REQUEST_TIMEOUT, topology};

/// A queue that is being read. RabbitMQ requeues every message that was not removed when this value is closed or dropped.
pub struct QueueBrowser {
    link: Link,
}

/// A message read from the queue.
pub struct BrowsedMessage {
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

impl BrowsedMessage {
    /// The value of a string header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl QueueBrowser {
    /// Connects and starts at the head of `otpost.dead`.
    pub async fn dead(nodes: &Nodes) -> Result<Self, BrokerError> {
        Ok(Self { link: Link::open(nodes, false, Operation::Queue(topology::DEAD)).await? })
    }

    /// Returns the next message, or `None` at the end of the queue.
    pub async fn next(&mut self) -> Result<Option<BrowsedMessage>, BrokerError> {
        let failed = |e| BrokerError::of(&e, Operation::Queue(topology::DEAD));
        let getting = self.link.channel.basic_get(topology::DEAD.into(), BasicGetOptions::default());
        let got = with_timeout(async { getting.await.map_err(failed) }).await?;
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
            BrowsedMessage {
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
    pub async fn remove(&mut self, found: &BrowsedMessage) -> Result<(), BrokerError> {
        let failed = |e| BrokerError::of(&e, Operation::Queue(topology::DEAD));
        let acking = self.link.channel.basic_ack(found.tag, BasicAckOptions::default());
        timeout(REQUEST_TIMEOUT, acking)
            .await
            .map_err(|_| BrokerError::Lost("no answer came"))?
            .map_err(failed)?;
        Ok(())
    }

    /// Closes the connection in order. RabbitMQ then requeues every message that was not removed.
    pub async fn close(self) {
        self.link.close().await;
    }
}
