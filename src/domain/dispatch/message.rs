//! Messages without a carrier's markup: a text, or the parts of a call.

use std::collections::BTreeMap;

use serde_json::Value;
use zeroize::Zeroizing;

/// The template of a job that names none. It must use the code.
pub const DEFAULT_TEMPLATE: &str = "code";

/// Values for a template, by name: whole numbers or short words, never free text. `origin` is a host name. `token` is the last part
/// of a link.
pub type Params = BTreeMap<String, Value>;

/// A rendered message. `Debug` prints only its length.
pub enum RenderedMessage {
    /// A text message.
    Text(Zeroizing<String>),
    /// The speech of a call.
    Speech(Spoken),
}

impl std::fmt::Debug for RenderedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} characters)", text.chars().count()),
            Self::Speech(spoken) => write!(f, "Speech({} parts)", spoken.parts.len()),
        }
    }
}

/// The speech of a call, without a carrier's markup.
pub struct Spoken {
    /// BCP 47 tag of the voice.
    pub language: String,
    /// The sentence that asks the recipient to press a key. `None` if the speech contains no code: then it may be spoken to a machine.
    pub key_prompt: Option<String>,
    /// The parts, in order.
    pub parts: Vec<Part>,
}

/// One part of a call.
pub enum Part {
    /// A sentence that is spoken.
    Say(Zeroizing<String>),
    /// A pause, in seconds.
    Pause(u8),
}
