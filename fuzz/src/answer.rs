//! What Twilio answered: status, `Retry-After` and body, on a line each. Nothing is accepted but what says so in words that
//! can be read, no wait is longer than a day, and what is kept is bounded.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use otpost::carriers::{Answer, Carrier};
use otpost::domain::attempt::Outcome;
use otpost::domain::channel::Channel;

use super::account::{is_bounded, is_kept, twilio};
use super::lines::first;

/// Seen to fail: where a 500 counts as not taken (`internal`).
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
            Outcome::Unknown => assert!(!(400..500).contains(&status), "a refusal is no riddle"),
            Outcome::Throttled { retry_after } => {
                assert!((400..500).contains(&status));
                assert!(retry_after.is_none_or(|wait| wait <= Duration::from_secs(86_400)));
            }
            // Would be asked again at once: it must be sure that nothing was taken.
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
