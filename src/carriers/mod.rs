//! The carriers' HTTP APIs, behind one trait.
//!
//! Comes in: a message for a phone, an answer of a carrier, or a callback. Goes out: an HTTP request, an outcome, or a delivery
//! receipt. Nothing here waits, retries or stores.
//!
//! Each carrier is one file that reads from top to bottom: tables of codes, the request (pure), the answer (pure), the callback
//! (pure, over the raw bytes). Only `client` sends.

pub mod answer;
pub mod client;
pub mod infobip;
pub mod twilio;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::domain::attempt::{AttemptId, Judgement, Receipt, ReceiptStatus};
use crate::domain::channel::Channel;
use crate::domain::dispatch::PhoneNumber;
use crate::domain::dispatch::{RenderedMessage, Spoken};
use crate::domain::server_url::ServerUrl;

pub use answer::Answer;
pub use client::{Client, Request};

/// A message to send, without a carrier's markup.
#[derive(Debug)]
pub struct OutboundMessage<'a> {
    /// The channel.
    pub channel: Channel,
    /// The recipient's number.
    pub to: &'a PhoneNumber,
    /// The rendered message.
    pub content: &'a RenderedMessage,
    /// The tenant's own sender, if it has one.
    pub sender: Option<&'a str>,
    /// The remaining life of the code. The carrier must not deliver the message later.
    pub life: Duration,
    /// Our reference: the attempt's id, or the id of the attempt that it repeats at the same carrier.
    pub reference: &'a str,
    /// The callback URL for the delivery receipts of this message. `None` if the account has one URL for all messages.
    pub callback: Option<&'a str>,
    /// Calls: the URL that the carrier requests when the recipient has pressed a key. Its answer is [`Carrier::speech`]. `None` if the
    /// message itself contains the speech.
    pub speech_url: Option<&'a str>,
}

/// The query of the callback URL that a carrier requests for the speech of a call.
pub const SPEECH_QUERY: &str = "speech";

/// The answer to a request for the speech of a call.
pub struct SpeechAnswer {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Zeroizing<String>,
}

/// A callback as received by `GET` or `POST`, before verification.
pub struct Callback<'a> {
    /// The public URL that the carrier was given, rebuilt from the configuration, with the query.
    pub url: &'a str,
    /// The raw query; empty without one.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a axum::http::HeaderMap,
    /// The raw body; empty for a `GET`.
    pub body: &'a [u8],
}

/// A delivery receipt in a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The attempt, if the callback contains our reference. `None` if the URL or the carrier's message id identifies it.
    pub attempt: Option<AttemptId>,
    /// The receipt.
    pub receipt: Receipt,
}

/// The URLs to which a carrier reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Callbacks {
    /// Each message is sent with a URL of its own.
    #[default]
    Message,
    /// The account has one URL for all messages, entered at the carrier.
    Account,
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

    /// Returns the request that sends a message. `None` if the account is not configured for the channel.
    fn build(&self, message: &OutboundMessage<'_>) -> Option<Request>;

    /// Interprets the answer to a send request.
    fn judge(&self, channel: Channel, answer: &Answer) -> Judgement;

    /// Returns whether calls speak a code only after the recipient has pressed a key. A mailbox presses none.
    fn asks_for_key(&self) -> bool {
        false
    }

    /// Returns the answer that speaks to a recipient who has pressed a key. `None`: there is nothing to say, and the call ends.
    fn speech(&self, _: Option<&Spoken>) -> Option<SpeechAnswer> {
        None
    }

    /// Returns whether the meaning of an error code is known. The worker logs a refusal with an unknown code as an error.
    fn knows_code(&self, _: &str) -> bool {
        true
    }

    /// Says what the operator should check after a refusal of the account or the sender.
    fn advice(&self, _: &Judgement) -> &'static str {
        "check its section in carriers"
    }

    /// Verifies and parses a callback. Reports whose status is not relevant are left out.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidCallback`] if the signature or the form is wrong.
    fn parse_callback(&self, callback: &Callback<'_>) -> Result<Vec<Report>, InvalidCallback>;

    /// Returns the request that queries the status of an accepted message, by the carrier's message id, or by our reference if the
    /// carrier keeps it. `None` if the carrier has no such request.
    fn status_request(&self, channel: Channel, reference: &str) -> Option<Request>;

    /// Parses the answer to a status request. Returns `None` if it contains no status. The status of a call does not contain the keys that
    /// were pressed: if calls ask for one, a completed call has the reason `no_key`, and the caller must know better.
    fn parse_status(&self, channel: Channel, answer: &Answer) -> Option<Receipt>;
}

/// The configuration of an account at one carrier.
pub trait AccountConfig {
    /// Returns the base URL of the carrier's API.
    fn base_url(&self) -> &str;

    /// Returns the account's secrets, each with the path of the file that may contain it.
    fn secrets(&mut self) -> Vec<Secret<'_>>;

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

/// Calls a macro with the list of all carriers. Each is a module here, and a section `[carriers.ACCOUNT.NAME]` in the
/// configuration.
macro_rules! with_all_carriers {
    ($macro:ident) => {
        $macro! { twilio infobip }
    };
}
pub(crate) use with_all_carriers;

/// Returns a base URL without a trailing slash, or the error text if paths cannot be appended to it.
fn checked_base_url(text: &str) -> Result<String, String> {
    ServerUrl::http_base(text).map_err(|why| format!("base_url {why}"))?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// Returns the receipt with the highest rank: `delivered`, then `bad`, then `interim`. A callback may contain several receipts of
/// one message, in any order.
pub fn strongest(receipts: impl IntoIterator<Item = Receipt>) -> Option<Receipt> {
    receipts.into_iter().max_by_key(|receipt| match receipt.status {
        ReceiptStatus::Interim => 0,
        ReceiptStatus::Bad => 1,
        ReceiptStatus::Delivered => 2,
    })
}

/// Returns a carrier's id or code if it can be stored: 1 to 128 characters, without control characters.
pub fn kept(text: &str) -> Option<String> {
    let fits = (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}
