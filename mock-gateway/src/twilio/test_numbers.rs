//! The numbers of Twilio's own test credentials, from its page "Test Credentials".
//!
//! Two differences: there, every `From` but +15005550006 is refused, and no callback is sent. Here any sender
//! is accepted, and callbacks are sent. The numbers for calls are left out, because their codes are
//! unverified.

use crate::outcome::{Channel, Outcome};

/// Returns the outcome of this pair of numbers with Twilio's test credentials.
pub(super) fn outcome(channel: Channel, to: &str, from: &str) -> Option<Outcome> {
    if channel == Channel::Voice {
        return None;
    }
    let of_sender = match from {
        "+15005550001" => Some(Outcome::InvalidSender),
        "+15005550007" => Some(Outcome::SenderNotOwned),
        "+15005550008" => Some(Outcome::QueueFull),
        _ => None,
    };
    of_sender.or(match to {
        "+15005550001" => Some(Outcome::InvalidNumber),
        "+15005550002" => Some(Outcome::Unroutable),
        "+15005550003" => Some(Outcome::NoPermission),
        "+15005550004" => Some(Outcome::Unsubscribed),
        "+15005550009" => Some(Outcome::NotMobile),
        _ => None,
    })
}
