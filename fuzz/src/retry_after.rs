//! `Retry-After` never gives more than a day, and a number means this number of seconds.

use std::time::Duration;

use otpost::domain::retry_after::retry_after;

const DAY_S: u64 = 86_400;

/// Fails if a date may be more than a day away (`zone`).
pub fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let read = retry_after(text, None, now);
    assert!(read.is_none_or(|wait| wait <= Duration::from_secs(DAY_S)), "{read:?}");
    let digits = text.trim();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let most = digits.parse().unwrap_or(u64::MAX).min(DAY_S);
        assert_eq!(read, Some(Duration::from_secs(most)));
    }
}
