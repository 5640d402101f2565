//! The header `authorization`: a key opens its row, and no other text does. A text in the form of a key is
//! looked up by its id.

use axum::http::{HeaderMap, HeaderValue};
use otpost::http::{Bearer, NewKey, Scope};

const KEY: &str = "otp_0123456789ab_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Fails if the scheme is not checked (`other_scheme`).
pub fn holds(input: &[u8]) {
    let row = NewKey::of(KEY, "default", Scope::ALL).expect("a key").row;
    if let Some(headers) = headers(input) {
        let opens = Bearer::of(&headers).is_some_and(|given| given.opens(&row));
        assert_eq!(opens, key_of(input) == Some(KEY.as_bytes()));
        if let Some(id) = Bearer::of(&headers).and_then(Bearer::id) {
            assert!(!id.contains('_') && opens <= (id == row.id));
        }
    }
    let Some(new) = std::str::from_utf8(input).ok().and_then(|text| NewKey::of(text.trim(), "default", &[]))
    else {
        return;
    };
    // A text that is accepted as a key can be shown by a client.
    if let Some(headers) = headers(&[b"Bearer ", new.text.as_bytes()].concat())
        && let Some(given) = Bearer::of(&headers)
    {
        assert!(given.opens(&new.row) && given.id() == Some(&new.row.id), "{:?}", new.text);
    }
    assert!(!new.row.hash.contains(&new.text));
}

fn headers(value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, value)]))
}

/// Returns the key after the scheme, in any case, and a space or a tab. Spaces around it are ignored.
fn key_of(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.trim_ascii().split_at_checked("bearer".len())?;
    let is_separated = key.first().is_some_and(|byte| b" \t".contains(byte));
    (scheme.eq_ignore_ascii_case(b"bearer") && is_separated).then(|| key.trim_ascii())
}
