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
