//! Channels by which a message reaches a phone.

use crate::domain::words::words;

words! {
    /// The channel by which a message reaches a phone.
    Channel {
        /// A text message.
        Sms = "sms",
        /// A voice call that speaks the message.
        Voice = "voice",
    }
}

impl Channel {
    /// Returns the names of all channels, for a text: `sms, voice`.
    pub fn names() -> String {
        Self::ALL.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(", ")
    }
}
