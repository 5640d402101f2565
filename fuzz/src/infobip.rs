//! Infobip's answer or report: a status on the first line, then the body. A message is accepted only with an
//! id, a 4xx status is never an unknown outcome, and stored texts are bounded.

use axum::http::HeaderMap;
use otpost::carriers::infobip::{Config, Infobip};
use otpost::carriers::{Answer, Callback, Carrier, InvalidCallback};
use otpost::domain::attempt::{Outcome, ReceiptStatus};
use otpost::domain::channel::Channel;

use super::account::{is_bounded, is_kept};
use super::lines::first;

fn infobip() -> Infobip {
    Infobip::new(Config {
        base_url: "https://xxxxx.api.example".to_owned(),
        api_key: Some("key".into()),
        api_key_file: None,
        from: "Shop".to_owned(),
    })
    .expect("a valid account")
}

/// Fails if a control character is stored (`control`).
pub fn holds(input: &[u8]) {
    let (status, body) = first(input);
    let account = infobip();
    match account.parse_callback(&Callback { url: "", query: "", headers: &HeaderMap::new(), body }) {
        Err(e) => assert_eq!(e, InvalidCallback::Form),
        Ok(reports) => {
            for receipt in reports.into_iter().map(|report| report.receipt) {
                is_bounded(&receipt);
                assert_eq!(receipt.status == ReceiptStatus::Bad, receipt.reason.is_some());
            }
        }
    }
    let Some(status) = std::str::from_utf8(status).ok().and_then(|text| text.parse().ok()) else { return };
    let at = "2026-01-01T00:00:00Z".parse().expect("a time");
    let answer = Answer { status, headers: HeaderMap::new(), body: Some(body.to_vec()), at };
    let judged = account.judge(Channel::Sms, &answer);
    let success = (200..300).contains(&status);
    match judged.outcome {
        Outcome::Accepted => assert!(success && judged.details.message_id.is_some()),
        Outcome::Unknown => {
            assert!(!(400..500).contains(&status), "a 4xx status is never an unknown outcome");
        }
        // It must be certain that the carrier accepted nothing: only a status in the body says so, never an
        // HTTP error.
        Outcome::Unavailable => assert!(success),
        Outcome::Throttled { .. } | Outcome::Rejected(_) | Outcome::Misconfigured(_) => {
            assert!(success || (400..500).contains(&status));
        }
        Outcome::NotSent(_) => panic!("there is an answer"),
    }
    for text in [&judged.details.message_id, &judged.details.carrier_code].into_iter().flatten() {
        assert!(is_kept(text), "{text:?}");
    }
    if let Some(receipt) = account.parse_status(Channel::Sms, &answer) {
        assert_eq!(status, 200);
        is_bounded(&receipt);
    }
}
