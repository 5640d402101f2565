//! A message whole, sealed: how otpost keeps what it sets aside on the broker. Headers carry only our reasons.

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

/// Of a dead letter's body no more is kept: a broker refuses what is too large, and closes the channel over it.
const LONGEST_LETTER: usize = 1024 * 1024;

/// A message as it came, with what of its properties decides what it may do.
#[derive(Clone, Serialize, Deserialize)]
pub struct Envelope {
    v: u32,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The broker user that it names.
    pub user_id: Option<String>,
    /// Its trace context.
    pub traceparent: Option<String>,
    /// Its body, base64.
    body: Zeroizing<String>,
    /// Whether the body is only the first part of what came.
    pub cut: bool,
}

impl Envelope {
    /// Puts a delivery into an envelope; of a longer body only the first `most` bytes are kept.
    pub fn of(delivery: &Delivery, most: usize) -> Self {
        let mut envelope = Self::new(&delivery.routing_key, &delivery.body, most);
        envelope.user_id.clone_from(&delivery.user_id);
        envelope.traceparent.clone_from(&delivery.traceparent);
        envelope
    }

    /// A message without properties.
    pub fn new(routing_key: &str, body: &[u8], most: usize) -> Self {
        let kept = &body[..body.len().min(most)];
        Self {
            v: VERSION,
            routing_key: routing_key.to_owned(),
            user_id: None,
            traceparent: None,
            body: Zeroizing::new(BASE64.encode(kept)),
            cut: kept.len() < body.len(),
        }
    }

    /// The body as it came.
    pub fn body(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(BASE64.decode(self.body.as_bytes()).unwrap_or_default())
    }

    /// Seals it for a queue: nowhere else it opens.
    pub fn seal(&self, keys: &Keys, queue: &str) -> Vec<u8> {
        let plain = Zeroizing::new(serde_json::to_vec(self).expect("plain structs with text keys serialise"));
        keys.seal_letter(queue, &plain).into_bytes()
    }

    /// Opens what was sealed for a queue. None: it is not ours, its key is missing, or a later version made it.
    pub fn open(keys: &Keys, queue: &str, sealed: &[u8]) -> Option<Self> {
        let plain = keys.open_letter(queue, std::str::from_utf8(sealed).ok()?).ok()?;
        let envelope: Self = serde_json::from_slice(&plain).ok()?;
        (envelope.v <= VERSION).then_some(envelope)
    }

    /// Puts what it holds into a delivery's place: it is then as if that message had come again.
    pub fn unpack(self, delivery: &mut Delivery) {
        delivery.body = self.body().to_vec();
        delivery.routing_key = self.routing_key;
        delivery.user_id = self.user_id;
        delivery.traceparent = self.traceparent;
    }

    /// The dead letter of a delivery that cannot be used: sealed whole, the headers hold our reason.
    pub fn letter(delivery: &Delivery, keys: &Keys, bad: &BadMessage) -> Message {
        let headers = vec![
            (header::FIELD.to_owned(), bad.field.clone()),
            (header::REASON.to_owned(), bad.rule.clone()),
            (header::BYTES.to_owned(), delivery.body.len().to_string()),
        ];
        Self::of(delivery, LONGEST_LETTER).message(keys, "otpost.dead", "dead", headers)
    }

    /// The message that carries it to a queue.
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
