//! Envelopes: whole messages, sealed, for quarantine and dead letters on the broker. The headers contain only our reasons.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::broker::topology::header;
use crate::broker::{Delivery, Exchange, Message};
use crate::intake::BadMessage;
use crate::seal::Keys;

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
}

impl Envelope {
    /// Wraps a delivery. A body longer than `limit` bytes is truncated.
    pub fn of(delivery: &Delivery, limit: usize) -> Self {
        let mut envelope = Self::new(&delivery.routing_key, &delivery.body, limit);
        envelope.user_id.clone_from(&delivery.user_id);
        envelope.traceparent.clone_from(&delivery.traceparent);
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
    }

    /// Returns the dead letter of a delivery that cannot be processed: the sealed message, with our reason in the headers.
    pub fn dead_letter(delivery: &Delivery, keys: &Keys, bad: &BadMessage) -> Message {
        let headers = vec![
            (header::FIELD.to_owned(), bad.field.clone()),
            (header::REASON.to_owned(), bad.rule.clone()),
            (header::BYTES.to_owned(), delivery.body.len().to_string()),
        ];
        Self::of(delivery, MAX_DEAD_LETTER_BYTES).message(keys, "otpost.dead", "dead", headers)
    }

    /// Returns the broker message with the sealed envelope.
    pub fn message(
        &self, keys: &Keys, queue: &str, routing_key: &str, headers: Vec<(String, String)>,
    ) -> Message {
        Message {
            exchange: Exchange::Otpost,
            routing_key: routing_key.to_owned(),
            body: self.seal(keys, queue),
            message_id: uuid::Uuid::now_v7().to_string(),
            kind: "sealed",
            content_type: CONTENT_TYPE,
            headers,
            user_id: None,
            mandatory: true,
        }
    }
}
