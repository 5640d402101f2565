//! A message to publish, and its conversion to AMQP.

use std::fmt;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::topology;

/// The exchange that a message is published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// `otpost`: jobs, wake-ups, quarantined messages, dead letters.
    Otpost,
    /// `otpost.events`: state changes of dispatches.
    Events,
}

impl Exchange {
    fn as_str(self) -> &'static str {
        match self {
            Self::Otpost => topology::JOBS,
            Self::Events => topology::EVENTS,
        }
    }
}

/// A message to publish. It is persistent and carries the time of publishing.
#[derive(Clone)]
pub struct Message {
    /// The target exchange.
    pub exchange: Exchange,
    /// The routing key, at most 255 bytes.
    pub routing_key: String,
    /// The body, in the format that `content_type` names.
    pub body: Vec<u8>,
    /// The AMQP property `message_id`, at most 255 bytes. It must be unique, because it identifies a returned message.
    pub message_id: String,
    /// The AMQP property `type`.
    pub kind: &'static str,
    /// The AMQP property `content_type`.
    pub content_type: &'static str,
    /// Headers, sent as AMQP long strings. A header name has at most 255 bytes.
    pub headers: Vec<(String, String)>,
    /// The AMQP property `user_id`. RabbitMQ requires it to be the user of the connection.
    pub user_id: Option<String>,
    /// The AMQP property `expiration`: RabbitMQ deletes the message after this time in a queue. At most 49 days.
    pub expiration: Option<Duration>,
    /// Whether an unroutable message is an error. Without it, RabbitMQ drops and confirms a message that no queue takes.
    pub mandatory: bool,
}

impl fmt::Debug for Message {
    /// Leaves out body and headers, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A message in lapin's types.
pub(super) struct Prepared {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
    pub(super) message_id: String,
    pub(super) mandatory: bool,
}

impl Message {
    /// Returns `None` when a short string is longer than the 255 bytes that AMQP permits. lapin would panic.
    pub(super) fn prepare(self) -> Option<Prepared> {
        let short = |text: &str| ShortString::try_new(text).ok();
        let mut headers = FieldTable::default();
        for (name, value) in self.headers {
            headers.insert(short(&name)?, AMQPValue::LongString(value.into()));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(topology::PERSISTENT)
            .with_message_id(short(&self.message_id)?)
            .with_type(short(self.kind)?)
            .with_timestamp(u64::try_from(crate::domain::clock::now().as_second()).unwrap_or(0))
            .with_content_type(short(self.content_type)?)
            .with_headers(headers);
        let properties = match &self.user_id {
            Some(user) => properties.with_user_id(short(user)?),
            None => properties,
        };
        let properties = match self.expiration {
            Some(expiration) => properties.with_expiration(short(&expiration.as_millis().to_string())?),
            None => properties,
        };
        Some(Prepared {
            exchange: self.exchange.as_str().into(),
            routing_key: short(&self.routing_key)?,
            body: self.body,
            properties,
            message_id: self.message_id,
            mandatory: self.mandatory,
        })
    }
}
