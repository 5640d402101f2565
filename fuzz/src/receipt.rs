//! The body of a Twilio callback. With the right signature it is parsed or ignored, and its stored texts are
//! bounded. With the signature of another body, URL or token, or without one, it is refused.

use axum::http::{HeaderMap, HeaderValue};
use otpost::carriers::{Callback, Carrier, InvalidCallback, Report};
use otpost::domain::attempt::ReceiptStatus;

use super::account::{TOKEN, is_bounded, signature, twilio};

const URL: &str = "https://otp.example/v1/receipts/c1/0192f0c1-2222-7333-8444-555566667777-1/abc";

/// Fails if the signature is not checked (each input), and if a control character is stored
/// (`control_characters`).
pub fn holds(input: &[u8]) {
    match read(Some(&signature(TOKEN, URL, input)), input) {
        Err(e) => assert_eq!(e, InvalidCallback::Form),
        Ok(reports) => {
            for receipt in reports.into_iter().map(|report| report.receipt) {
                is_bounded(&receipt);
                assert_eq!(receipt.status == ReceiptStatus::Bad, receipt.reason.is_some());
            }
        }
    }
    let other = [input, b"&x=y".as_slice()].concat();
    let forged = [
        signature("123456", URL, input),
        signature(
            TOKEN,
            "https://otp.example/v1/receipts/c1/0192f0c1-2222-7333-8444-555566667777-2/abc",
            input,
        ),
        signature(TOKEN, URL, &other),
        String::new(),
    ];
    for forged in forged.iter().filter(|forged| **forged != signature(TOKEN, URL, input)) {
        assert_eq!(read(Some(forged), input), Err(InvalidCallback::Signature));
    }
    assert_eq!(read(None, input), Err(InvalidCallback::Signature));
}

fn read(signature: Option<&str>, body: &[u8]) -> Result<Vec<Report>, InvalidCallback> {
    let value = signature.map(|text| HeaderValue::from_str(text).expect("base64 fits into a header"));
    let name = axum::http::HeaderName::from_static("x-twilio-signature");
    let headers: HeaderMap = value.into_iter().map(|value| (name.clone(), value)).collect();
    twilio().parse_callback(&Callback { url: URL, query: "", headers: &headers, body })
}
