//! A Twilio account, and a second implementation of its signature. A comparison reveals errors in either one.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use otpost::carriers::twilio::{Config, Twilio};
use otpost::carriers::{Carrier, OutboundMessage, Request};
use otpost::domain::attempt::Receipt;
use otpost::domain::channel::Channel;
use otpost::domain::dispatch::{PhoneNumber, RenderedMessage};
use sha1::Sha1;

/// The token of the official library's tests.
pub(crate) const TOKEN: &str = "12345";

pub(crate) fn twilio() -> Twilio {
    Twilio::new(Config {
        account_sid: "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        auth_token: Some(TOKEN.into()),
        from: Some("+15005550006".to_owned()),
        machine_detection: true,
        base_url: "https://api.example".to_owned(),
        ..Config::default()
    })
    .expect("a valid account")
}

/// Returns the header `X-Twilio-Signature`: the URL, then names and values in order, each pair once.
pub(crate) fn signature(token: &str, url: &str, body: &[u8]) -> String {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    pairs.sort();
    pairs.dedup();
    let text = pairs.iter().fold(url.to_owned(), |text, (name, value)| text + name + value);
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

/// Returns the form fields of a request with this message.
pub(crate) fn form_of(words: &RenderedMessage) -> Vec<(String, String)> {
    let to = PhoneNumber::parse("+447700900123").expect("a number");
    let callback = "https://otp.example/v1/receipts/c1/0192f0c1-2222-7333-8444-555566667777-1/abc";
    let life = Duration::from_secs(120);
    let reference = "0192f0c1-2222-7333-8444-555566667777-1";
    let channel = match words {
        RenderedMessage::Text(_) => Channel::Sms,
        RenderedMessage::Speech(_) => Channel::Voice,
    };
    let message = OutboundMessage {
        channel,
        to: &to,
        content: words,
        sender: None,
        life,
        reference,
        callback: Some(callback),
        speech_url: None,
    };
    let Request { body, .. } = twilio().build(&message).expect("a valid message");
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

/// Asserts that stored texts of a carrier are short, and fit into a log line and a database.
pub(crate) fn is_bounded(receipt: &Receipt) {
    for text in [&receipt.carrier_code, &receipt.message_id].into_iter().flatten() {
        assert!(is_kept(text), "{text:?}");
    }
}

pub(crate) fn is_kept(text: &str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}
