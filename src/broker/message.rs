//! A message to publish, and what becomes of it on the wire.

use std::fmt;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::topology;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// `otpost`: jobs, otpost's own messages, suspects, the dead.
    Otpost,
    /// `otpost.events`.
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

/// A message to publish. It is persistent, and carries the time at which it is published.
#[derive(Clone)]
pub struct Message {
    /// The exchange it goes to.
    pub exchange: Exchange,
    /// At most 255 bytes.
    pub routing_key: String,
    /// The body.
    pub body: Vec<u8>,
    /// The property `message_id`, at most 255 bytes. One per message: by it a returned message is recognised.
    pub message_id: String,
    /// The property `type`.
    pub kind: &'static str,
    /// The property `content_type`.
    pub content_type: &'static str,
    /// Headers, as AMQP long strings; a name has at most 255 bytes.
    pub headers: Vec<(String, String)>,
    /// The property `user_id`: it must be the user of the connection.
    pub user_id: Option<String>,
    /// Whether it must reach a queue: else a message that no queue takes is gone, and that is a success.
    pub mandatory: bool,
}

impl fmt::Debug for Message {
    /// Without body and headers: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A message as lapin wants it.
pub(super) struct Prepared {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
    pub(super) message_id: String,
    pub(super) mandatory: bool,
}

impl Message {
    /// None when a name is longer than AMQP permits: lapin would panic over it.
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
