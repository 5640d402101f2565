//! Durations as text: `30s`, `10m`, `24h`, `30d`.

use std::time::Duration;

use serde::Deserialize;

/// Parses `30s`, `10m`, `24h` or `30d`; `m` alone is one minute.
pub fn read_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    let number: u64 = if number.is_empty() { 1 } else { number.parse().ok()? };
    number.checked_mul(unit).map(Duration::from_secs)
}

/// A duration in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Life(pub Duration);

impl TryFrom<String> for Life {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        read_duration(&text).map(Self).ok_or("a duration must be written like 30s, 10m, 24h or 30d")
    }
}
