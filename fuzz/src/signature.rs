//! `X-Twilio-Signature`, a URL, and a body, on one line each: only the signature of this body and URL is
//! accepted. The standard port in the URL is optional.

use axum::http::{HeaderMap, HeaderValue};
use otpost::carriers::{Callback, Carrier, InvalidCallback};

use super::account::{TOKEN, signature, twilio};
use super::lines::first;

/// Fails if the signature is not checked (`sha256`).
pub fn holds(input: &[u8]) {
    let (given, rest) = first(input);
    let (url, body) = first(rest);
    let (Ok(value), Ok(url)) = (HeaderValue::from_bytes(given), std::str::from_utf8(url)) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("x-twilio-signature", value);
    let believed = |headers: &HeaderMap| {
        twilio().parse_callback(&Callback { url, query: "", headers, body })
            != Err(InvalidCallback::Signature)
    };
    if believed(&headers) {
        let mut good = spellings(url).into_iter().map(|url| signature(TOKEN, &url, body));
        assert!(good.any(|good| good.as_bytes() == given), "a forged signature");
    }
    // A given URL can always be signed.
    let own = HeaderValue::from_str(&signature(TOKEN, url, body)).expect("base64 fits into a header");
    headers.insert("x-twilio-signature", own);
    assert!(believed(&headers), "a good signature is refused");
}

/// All spellings of the URL.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    for port in [":443", ":80"] {
        all.extend(url.match_indices(port).map(|(at, _)| url[..at].to_owned() + &url[at + port.len()..]));
        let slashes = url.match_indices(['/', '?']).map(|(at, _)| at).chain([url.len()]);
        all.extend(slashes.map(|at| format!("{}{port}{}", &url[..at], &url[at..])));
    }
    all
}
