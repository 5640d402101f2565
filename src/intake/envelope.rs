//! Envelopes: whole messages, sealed, for quarantine and dead letters on the broker. The headers contain only our reasons.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::broker::topology::{self, header};
use crate::broker::{Delivery, Exchange, Message};
use crate::intake::BadMessage;
use crate::seal::{Keys, SealError};

const VERSION: u32 = 1;
/// The `content_type` of an envelope.
pub const CONTENT_TYPE: &str = "application/vnd.otpost.sealed";

/// Maximum bytes of a dead letter's body that are kept. The broker refuses a message that is too large and closes the channel.
const MAX_DEAD_LETTER_BYTES: usize = 1024 * 1024;

/// A message with those of its properties that determine how it may be processed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Envelope {
    v: u32,
    /// The routing key of the message.
    pub routing_key: String,
    /// The broker user in `user_id`.
    pub user_id: Option<String>,
    /// W3C trace context of the message.
    pub traceparent: Option<String>,
    /// The body, base64.
    body: Zeroizing<String>,
    /// Whether the body was truncated.
    pub cut: bool,
    /// How often the message has expired in a queue of RabbitMQ.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expirations: u32,
}

impl Envelope {
    /// Wraps a delivery. A body longer than `limit` bytes is truncated.
    pub fn of(delivery: &Delivery, limit: usize) -> Self {
        let mut envelope = Self::new(&delivery.routing_key, &delivery.body, limit);
        envelope.user_id.clone_from(&delivery.user_id);
        envelope.traceparent.clone_from(&delivery.traceparent);
        envelope.expirations = delivery.expirations;
        envelope
    }

    /// Wraps a message without properties. A body longer than `limit` bytes is truncated.
    pub fn new(routing_key: &str, body: &[u8], limit: usize) -> Self {
        let kept = &body[..body.len().min(limit)];
        Self {
            v: VERSION,
            routing_key: routing_key.to_owned(),
            user_id: None,
            traceparent: None,
            body: Zeroizing::new(BASE64.encode(kept)),
            cut: kept.len() < body.len(),
            expirations: 0,
        }
    }

    /// Returns the body of the original message.
    pub fn body(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(BASE64.decode(self.body.as_bytes()).unwrap_or_default())
    }

    /// Seals the envelope for a queue. It cannot be opened for another queue.
    pub fn seal(&self, keys: &Keys, queue: &str) -> Vec<u8> {
        let plain = Zeroizing::new(serde_json::to_vec(self).expect("plain structs with text keys serialise"));
        keys.seal_message(queue, &plain).into_bytes()
    }

    /// Opens an envelope that was sealed for a queue. Returns `None` if it is not ours, its key is missing, or a later version
    /// sealed it.
    pub fn open(keys: &Keys, queue: &str, sealed: &[u8]) -> Option<Self> {
        let plain = keys.open_message(queue, std::str::from_utf8(sealed).ok()?).ok()?;
        let envelope: Self = serde_json::from_slice(&plain).ok()?;
        (envelope.v <= VERSION).then_some(envelope)
    }

    /// Replaces the content of a delivery with the original message, so that it can be processed like the original delivery.
    pub fn unpack(self, delivery: &mut Delivery) {
        delivery.body = self.body().to_vec();
        delivery.routing_key = self.routing_key;
        delivery.user_id = self.user_id;
        delivery.traceparent = self.traceparent;
        delivery.expirations = self.expirations;
    }

    /// Returns the dead letter of a delivery that cannot be processed: the sealed message, with our reason in the headers. RabbitMQ
    /// deletes it after `life`.
    pub fn dead_letter(delivery: &Delivery, keys: &Keys, bad: &BadMessage, life: Duration) -> Message {
        let headers = vec![
            (header::FIELD.to_owned(), bad.field.clone()),
            (header::REASON.to_owned(), bad.rule.clone()),
            (header::BYTES.to_owned(), delivery.body.len().to_string()),
        ];
        // A replayed message is processed, however often it expired before.
        let envelope = Self { expirations: 0, ..Self::of(delivery, MAX_DEAD_LETTER_BYTES) };
        let letter = envelope.message(keys, topology::DEAD, topology::key::DEAD, headers);
        Message { expiration: Some(life), ..letter }
    }

    /// Returns the broker message with the sealed envelope.
    pub fn message(
        &self, keys: &Keys, queue: &str, routing_key: &str, headers: Vec<(String, String)>,
    ) -> Message {
        sealed_message(self.seal(keys, queue), routing_key, headers)
    }
}

/// Returns the dead letter in a delivery that another version has sealed, with the routing key and the life of this version. `None` if the
/// delivery is none.
pub fn dead_letter_of_other_version(delivery: &Delivery, keys: &Keys, life: Duration) -> Option<Message> {
    let opened = keys.open_message(topology::DEAD, std::str::from_utf8(&delivery.body).ok()?);
    if !matches!(opened, Ok(_) | Err(SealError::UnknownKey)) {
        return None;
    }
    let headers = [header::FIELD, header::REASON, header::BYTES]
        .into_iter()
        .filter_map(|name| delivery.header(name).map(|value| (name.to_owned(), value)));
    let letter = sealed_message(delivery.body.clone(), topology::key::DEAD, headers.collect());
    let message_id = delivery.message_id.clone().unwrap_or(letter.message_id);
    Some(Message { message_id, expiration: Some(life), ..letter })
}

fn sealed_message(body: Vec<u8>, routing_key: &str, headers: Vec<(String, String)>) -> Message {
    Message {
        exchange: Exchange::Otpost,
        routing_key: routing_key.to_owned(),
        body,
        message_id: uuid::Uuid::now_v7().to_string(),
        kind: "sealed",
        content_type: CONTENT_TYPE,
        headers,
        user_id: None,
        expiration: None,
        mandatory: true,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}
