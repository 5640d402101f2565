//! The carriers' HTTP APIs, behind one trait.
//!
//! Comes in: a message for a phone, an answer of a carrier, or a callback. Goes out: an HTTP request, an outcome, or a delivery
//! receipt. Nothing here waits, retries or stores.
//!
//! Each carrier is one file that reads from top to bottom: tables of codes, the request (pure), the answer (pure), the callback
//! (pure, over the raw bytes). Only `client` sends.

pub mod client;
pub mod infobip;
pub mod twilio;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::domain::attempt::{Judgement, Receipt};
use crate::domain::channel::Channel;
use crate::domain::dispatch::PhoneNumber;
use crate::domain::dispatch::RenderedMessage;

pub use client::{Answer, Client, Request};

/// A message to send, without a carrier's markup.
#[derive(Debug)]
pub struct OutboundMessage<'a> {
    /// The recipient's number.
    pub to: &'a PhoneNumber,
    /// The rendered message.
    pub words: &'a RenderedMessage,
    /// The tenant's own sender, if it has one.
    pub sender: Option<&'a str>,
    /// The remaining life of the code. The carrier must not deliver the message later.
    pub life: Duration,
    /// Our reference: the attempt's id, or the id of the attempt that it repeats at the same carrier.
    pub reference: &'a str,
    /// The callback URL for delivery receipts. It contains the attempt's id and its token.
    pub callback: &'a str,
}

/// A callback as received, before verification.
pub struct Callback<'a> {
    /// The public URL that the carrier was given, rebuilt from the configuration.
    pub url: &'a str,
    /// The headers.
    pub headers: &'a axum::http::HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
}

/// Why a callback is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCallback {
    /// The signature is missing or wrong.
    #[error("the signature is missing or wrong")]
    Signature,
    /// The body is not in this carrier's format.
    #[error("the body is not a receipt of this carrier")]
    Form,
}

/// An account at a carrier whose HTTP API accepts texts or calls.
pub trait Carrier: Send + Sync {
    /// Returns whether this account is configured for a channel.
    fn carries(&self, channel: Channel) -> bool;

    /// Returns whether the carrier keeps our reference: it can be queried by it, and drops a repeat with the same one.
    fn keeps_references(&self, channel: Channel) -> bool;

    /// Returns the request that sends a message.
    fn build(&self, message: &OutboundMessage<'_>) -> Request;

    /// Interprets the answer to a send request.
    fn judge(&self, channel: Channel, answer: &Answer) -> Judgement;

    /// Verifies and parses a callback. Returns `None` if its status is not relevant.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidCallback`] if the signature or the form is wrong.
    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Option<Receipt>, InvalidCallback>;

    /// Returns the request that queries the status of an accepted message, by the carrier's message id, or by our reference if the
    /// carrier keeps it. `None` if the carrier has no such request.
    fn status_request(&self, channel: Channel, reference: &str) -> Option<Request>;

    /// Parses the answer to a status request. Returns `None` if it contains no status.
    fn parse_status(&self, channel: Channel, answer: &Answer) -> Option<Receipt>;
}

/// The configuration of an account at one carrier.
pub trait AccountConfig {
    /// Returns the name of the section in `carriers.NAME`.
    fn kind(&self) -> &'static str;

    /// Returns the account's secret and the path of the file that may contain it.
    fn secret(&mut self) -> Secret<'_>;

    /// Creates the account. Returns the error text if the configuration is not valid.
    fn open(&self) -> Result<Box<dyn Carrier>, String>;

    /// Returns the minimum remaining life of a code for a request to this carrier.
    fn min_life(&self) -> Duration {
        Duration::ZERO
    }
}

/// A secret of a configuration.
pub struct Secret<'c> {
    /// The key in the configuration.
    pub key: &'static str,
    /// The secret itself, if it is set.
    pub value: &'c mut Option<SecretString>,
    /// Path of the file that contains the secret.
    pub file: &'c mut Option<PathBuf>,
}

/// Returns a carrier's id or code if it may be stored: 1 to 128 characters, without control characters.
pub fn kept(text: &str) -> Option<String> {
    let fits = (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// Parses `Retry-After`, in seconds or as an HTTP date (RFC 9110, 10.2.3). The result is at most one day.
pub fn retry_after(header: Option<&str>, now: jiff::Timestamp) -> Option<Duration> {
    const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
    let text = header?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is more than one day.
        return Some(text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs).min(MAX_RETRY_AFTER));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(crate::domain::clock::between(now, at).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::retry_after;

    #[test]
    fn retry_after_reads_seconds_and_dates_and_caps_the_absurd() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let s = |text| retry_after(Some(text), now).map(|d| d.as_secs());
        assert_eq!(s("7"), Some(7));
        assert_eq!(s("Thu, 01 Jan 2026 00:02:00 GMT"), Some(120));
        assert_eq!(s("Wed, 01 Jan 2025 00:02:00 GMT"), Some(0));
        assert_eq!(s("99999999999"), Some(86_400));
        assert_eq!(s("99999999999999999999999999"), Some(86_400));
        assert_eq!(s("soon"), None);
        assert_eq!(s("-5"), None);
        assert_eq!(s("+5"), None);
        assert_eq!(retry_after(None, now), None::<Duration>);
    }
}
