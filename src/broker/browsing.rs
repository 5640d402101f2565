//! Looking through a queue without taking anything away, unless told to.

use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::AMQPValue;
use tokio::time::timeout;

use super::link::{Link, answered};
use super::problem::{Asked, BrokerError};
use super::{ASKING, topology};

/// A queue that is looked through. What was not removed is there again when this ends.
pub struct Browse {
    link: Link,
}

/// A message that was found.
pub struct Found {
    /// The body.
    pub body: Vec<u8>,
    /// The property `message_id`.
    pub message_id: String,
    /// When it was published, in Unix seconds.
    pub published_at: Option<i64>,
    /// How many more there were behind it.
    pub behind: u32,
    headers: Vec<(String, String)>,
    tag: u64,
}

impl Found {
    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Browse {
    /// Begins at the head of `otpost.dead`.
    pub async fn dead(url: &str) -> Result<Self, BrokerError> {
        Ok(Self { link: Link::open(url, false, Asked::Queue(topology::DEAD)).await? })
    }

    /// The next message; none at the end.
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

    /// Takes a message away for good.
    pub async fn remove(&mut self, found: &Found) -> Result<(), BrokerError> {
        let failed = |e| BrokerError::of(&e, Asked::Queue(topology::DEAD));
        let acking = self.link.channel.basic_ack(found.tag, BasicAckOptions::default());
        timeout(ASKING, acking).await.map_err(|_| BrokerError::Lost("no answer came"))?.map_err(failed)?;
        Ok(())
    }

    /// Ends, in order: what was removed is gone when this is over, everything else is back.
    pub async fn close(self) {
        self.link.close().await;
    }
}
