//! What a phone gets, in no carrier's language: the text of a message, or what a call says.

use zeroize::Zeroizing;

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
