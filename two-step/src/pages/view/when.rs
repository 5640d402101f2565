//! Formats waits and dates.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Lang;

/// Formats a duration, rounded up so that the user does not return too early: `25 s`, `5 min`, `3 h`, `2 days`.
pub fn wait(lang: Lang, seconds: u64) -> String {
    let texts = &lang.texts().time;
    let (minutes, hours, days) = (seconds.div_ceil(60), seconds.div_ceil(3600), seconds.div_ceil(86_400));
    match seconds {
        0..60 => format!("{seconds} {}", texts.seconds),
        60..=7_200 => format!("{minutes} {}", texts.minutes),
        7_201..=172_800 => format!("{hours} {}", texts.hours),
        _ => format!("{days} {}", texts.days),
    }
}

/// Formats Unix seconds as a date with the time: `28 Nov 2026, 14:05 UTC`.
pub fn date_time(lang: Lang, unix_seconds: i64) -> String {
    let time = civil(unix_seconds);
    format!("{}, {:02}:{:02} UTC", day_of(lang, &time), time.hour(), time.minute())
}

/// Formats Unix seconds as a date: `28 Nov 2026`.
pub fn date(lang: Lang, unix_seconds: i64) -> String {
    day_of(lang, &civil(unix_seconds))
}

/// Formats Unix seconds for the attribute `datetime`: `2026-11-28T14:05:09Z`.
pub(crate) fn machine(unix_seconds: i64) -> String {
    timestamp(unix_seconds).to_string()
}

fn timestamp(unix_seconds: i64) -> Timestamp {
    Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn civil(unix_seconds: i64) -> jiff::Zoned {
    timestamp(unix_seconds).to_zoned(TimeZone::UTC)
}

fn day_of(lang: Lang, time: &jiff::Zoned) -> String {
    let texts = &lang.texts().time;
    let month = texts.months[usize::from(time.month().unsigned_abs()) - 1];
    (texts.date)(time.day(), month, time.year())
}
