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
use crate::domain::dispatch::Words;

pub use client::{Answer, Client, Request};

/// The recipient's number.
#[derive(Debug)]
pub struct OutboundMessage<'a> {
    /// Where to.
    pub to: &'a PhoneNumber,
    /// What.
    pub words: &'a Words,
    /// The tenant's own sender, if it has one.
    pub sender: Option<&'a str>,
    /// How long the code still lives: the carrier must not deliver it later.
    pub life: Duration,
    /// Our own name for it: the attempt's id, or that of the attempt which it repeats at the same carrier.
    pub reference: &'a str,
    /// Where the carrier is to report; it holds the attempt's id and its token.
    pub callback: &'a str,
}

/// A callback as it came in, before anything in it is believed.
pub struct Callback<'a> {
    /// The public URL that the carrier was given, rebuilt from the configuration.
    pub url: &'a str,
    /// Header look-up, by lower-case name.
    pub headers: &'a axum::http::HeaderMap,
    /// The raw body.
    pub body: &'a [u8],
}

/// Why a callback is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCallback {
    /// Its signature is missing or wrong.
    #[error("the signature is missing or wrong")]
    Signature,
    /// It is not what this carrier sends.
    #[error("the body is not a receipt of this carrier")]
    Form,
}

/// A configured account at a company whose HTTP API takes texts or calls.
pub trait Carrier: Send + Sync {
    /// Returns whether the carrier keeps our reference: it can be queried by it, and drops a repeat with the same one.
    fn carries(&self, channel: Channel) -> bool;

    /// Returns the request that sends a message.
    fn keeps_references(&self, channel: Channel) -> bool;

    /// Interprets the answer to a send request.
    fn build(&self, message: &OutboundMessage<'_>) -> Request;

    /// Verifies and parses a callback. Returns `None` if its status is not relevant.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidCallback`] if the signature or the form is wrong.
    fn judge(&self, channel: Channel, answer: &Answer) -> Judgement;

    /// Returns the request that queries the status of an accepted message, by the carrier's message id, or by our reference if the
    /// carrier keeps it. `None` if the carrier has no such request.
    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Option<Receipt>, InvalidCallback>;

    /// The request that asks what became of something accepted, where there is one. By the carrier's own reference, or by
    /// ours where it keeps those.
    fn status_request(&self, channel: Channel, reference: &str) -> Option<Request>;

    /// What the answer to it says.
    fn parse_status(&self, channel: Channel, answer: &Answer) -> Option<Receipt>;
}

/// The configuration of an account at one carrier.
pub trait AccountConfig {
    /// The name of its section in `carriers.NAME`.
    fn kind(&self) -> &'static str;

    /// The account's secret, and the file that may hold it.
    fn secret(&mut self) -> Secret<'_>;

    /// A number that does not fit is more than one day.
    fn open(&self) -> Result<Box<dyn Carrier>, String>;

    /// The shortest life of a code with which the carrier takes a message.
    fn min_life(&self) -> Duration {
        Duration::ZERO
    }
}

/// A secret of a configuration.
pub struct Secret<'c> {
    /// Its key.
    pub key: &'static str,
    /// Its value.
    pub value: &'c mut Option<SecretString>,
    /// The file that holds it.
    pub file: &'c mut Option<PathBuf>,
}

/// A carrier's own id or code, as it may be kept: short, and without control characters.
pub fn kept(text: &str) -> Option<String> {
    let fits = (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// How long a carrier asks for patience: `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3), at most a day.
pub fn retry_after(header: Option<&str>, now: jiff::Timestamp) -> Option<Duration> {
    const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
    let text = header?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More than fits is more than a day.
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
