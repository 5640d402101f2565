//! Twilio's answer: status, `Retry-After` and body, on one line each. A message is accepted only with a
//! readable answer that says so, no wait exceeds a day, and stored texts are bounded.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use otpost::carriers::{Answer, Carrier};
use otpost::domain::attempt::Outcome;
use otpost::domain::channel::Channel;

use super::account::{is_bounded, is_kept, twilio};
use super::lines::first;

/// Fails if a 500 counts as not accepted (`internal`).
pub fn holds(input: &[u8]) {
    let (status, rest) = first(input);
    let (retry_after, body) = first(rest);
    let Some(status) = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok()) else { return };
    let Ok(retry_after) = HeaderValue::from_bytes(retry_after) else { return };
    let headers = HeaderMap::from_iter([(axum::http::header::RETRY_AFTER, retry_after)]);
    let at = "2026-01-01T00:00:00Z".parse().expect("a time");
    let answer = Answer { status, headers, body: Some(body.to_vec()), at };
    let twilio = twilio();
    for channel in [Channel::Sms, Channel::Voice] {
        let judged = twilio.judge(channel, &answer);
        let success = (200..300).contains(&status);
        match judged.outcome {
            Outcome::Accepted => assert!(success && judged.details.message_id.is_some()),
            Outcome::Unknown => {
                assert!(!(400..500).contains(&status), "a 4xx status is never an unknown outcome");
            }
            Outcome::Throttled { retry_after } => {
                assert!((400..500).contains(&status));
                assert!(retry_after.is_none_or(|wait| wait <= Duration::from_secs(86_400)));
            }
            // The request would be repeated at once, so it is certain that the carrier accepted nothing.
            Outcome::Unavailable => assert_eq!(status, 503),
            Outcome::Rejected(_) | Outcome::Misconfigured(_) => assert!((400..500).contains(&status)),
            Outcome::NotSent(_) => panic!("there is an answer"),
        }
        let details = &judged.details;
        for text in [&details.message_id, &details.carrier_code].into_iter().flatten() {
            assert!(is_kept(text), "{text:?}");
        }
        assert!(details.price.as_ref().is_none_or(|price| price.chars().count() <= 257));
        if let Some(receipt) = twilio.parse_status(channel, &answer) {
            assert_eq!(status, 200);
            is_bounded(&receipt);
        }
    }
    let broken = Answer { body: None, ..answer };
    assert!(twilio.judge(Channel::Sms, &broken).outcome != Outcome::Accepted);
    assert!(twilio.parse_status(Channel::Sms, &broken).is_none());
}
