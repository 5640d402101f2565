//! What a phone gets, in no carrier's markup: the text of a message, or what a call says.

use std::collections::BTreeMap;

use serde_json::Value;
use zeroize::Zeroizing;

/// The template of a job that names none. It uses the code.
pub const DEFAULT_TEMPLATE: &str = "code";

/// Values for a template, by name: whole numbers or short words, never free text. `origin` is a host name, and `token` the end of
/// a link.
pub type Params = BTreeMap<String, Value>;

/// Words for a phone. Printing them prints how long they are.
pub enum Words {
    /// A text message.
    Text(Zeroizing<String>),
    /// What a call says.
    Speech(Spoken),
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} characters)", text.chars().count()),
            Self::Speech(spoken) => write!(f, "Speech({} parts)", spoken.parts.len()),
        }
    }
}

/// What a call says, in no carrier's markup.
pub struct Spoken {
    /// BCP 47 tag of the voice.
    pub language: String,
    /// In order.
    pub parts: Vec<Part>,
}

/// A part of what a call says.
pub enum Part {
    /// A sentence.
    Say(Zeroizing<String>),
    /// Seconds of silence.
    Pause(u8),
}
