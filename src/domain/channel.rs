//! How a code travels.

use crate::domain::words::words;

words! {
    /// How a code travels.
    Channel {
        /// A text message.
        Sms = "sms",
        /// A call in which the code is spoken.
        Voice = "voice",
    }
}
