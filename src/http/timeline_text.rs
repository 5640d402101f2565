//! The timeline of a dispatch in words: what happened, and what follows.

use jiff::Timestamp;

use super::timeline::{AttemptEntry, Timeline};
use crate::domain::attempt::{Reason, ReceiptStatus};

/// Returns what happened and what follows, each with its time, in order. A line that begins with spaces belongs to the attempt above it.
pub fn lines(s: &Timeline) -> Vec<(Timestamp, String)> {
    let mut lines: Vec<(Timestamp, String)> = s.attempts.iter().flat_map(lines_of).collect();
    if let Some(at) = s.wake_at.filter(|_| !s.is_final) {
        let is_accepted =
            s.attempts.last().is_some_and(|a| a.step == s.step && a.outcome.as_deref() == Some("accepted"));
        let next = if s.waits > 0 && !is_accepted {
            format!(
                "next try: no carrier had room so far ({}); each is at its rate limit, busy, paused by an operator, or stopped after failures",
                times(s.waits)
            )
        } else {
            "next check, unless a receipt arrives earlier".to_owned()
        };
        lines.push((at, next));
    }
    lines.push((s.expires_at, "the code expires".to_owned()));
    lines.sort_by_key(|(at, _)| *at);
    lines
}

/// An attempt's begin, answer and receipt, each as a line with its time.
fn lines_of(a: &AttemptEntry) -> Vec<(Timestamp, String)> {
    let mut lines = vec![(a.begun_at, format!("{} at {}: {}", a.channel, a.carrier, a.says))];
    let code =
        |code: &Option<String>| code.as_ref().map(|c| format!(", carrier's code {c}")).unwrap_or_default();
    if let (Some(closed), Some(outcome)) = (a.closed_at, &a.outcome) {
        let reference = a.reference.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
        lines.push((closed, format!("  answer: {}{}{reference}", spaced(outcome), code(&a.carrier_code))));
    }
    if let Some(at) = a.corrected_at {
        let reason = a.corrected_reason.map(|r| format!(" ({})", of_reason(r))).unwrap_or_default();
        lines.push((
            at,
            format!("  receipt: undelivered{reason}{}; corrected by a later one", code(&a.corrected_code)),
        ));
    }
    if let (Some(at), Some(status)) = (a.receipt_at, a.receipt) {
        let reason = a.receipt_reason.map(|r| format!(" ({})", of_reason(r))).unwrap_or_default();
        let is_bad = status == ReceiptStatus::Bad;
        let code = if is_bad { code(&a.receipt_code) } else { String::new() };
        let status = if is_bad { "undelivered" } else { status.as_str() };
        lines.push((at, format!("  receipt: {status}{reason}{code}")));
    }
    lines
}

/// `tried 3 times`
pub fn times(n: u16) -> String {
    if n == 1 { "tried once".to_owned() } else { format!("tried {n} times") }
}

/// A reason as people write it.
pub fn of_reason(reason: Reason) -> String {
    match reason {
        Reason::NoPace => "no carrier had room in time".to_owned(),
        Reason::Life => "too little time was left".to_owned(),
        Reason::NoKey => "no key was pressed".to_owned(),
        reason => spaced(reason.as_str()),
    }
}

/// A word of the ledger as people write it.
pub fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

/// The time from one moment to another: `+1.25 s`.
pub fn since(from: Timestamp, t: Timestamp) -> String {
    let ms = t.as_millisecond() - from.as_millisecond();
    format!("+{}.{:02} s", ms / 1000, (ms % 1000).abs() / 10)
}
