//! `otpost show`: prints the timeline of a dispatch.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::Failure;
use super::client::{Api, Server, problem};
use crate::domain::attempt::{ReceiptStatus, State};
use crate::http::timeline::Timeline;
use crate::http::timeline_text::{lines, of_reason, since, times};

/// Show the timeline of a dispatch.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Id that the dispatch was sent with
    #[arg(value_parser = id)]
    id: Uuid,
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Wait until the dispatch is final
    #[arg(long, short)]
    watch: bool,
}

impl Show {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let api = self.server.connect()?;
        let report = |timeline: &Timeline| {
            if !self.json {
                eprintln!("{}", progress(timeline, None));
            }
        };
        let timeline =
            if self.watch { watch(&api, self.id, None, report).await? } else { fetch(&api, self.id).await? };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&timeline).unwrap_or_default());
        } else {
            print!("{}", format_timeline(&timeline));
        }
        Ok(())
    }
}

pub(super) fn id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "an id is a UUID, such as 0192f0c1-2222-4333-8444-555566667777")
}

pub(super) async fn fetch(api: &Api, id: Uuid) -> Result<Timeline, Failure> {
    let (status, body) = api.get(&format!("/v1/dispatches/{id}")).await?;
    if status != 200 {
        return Err(problem(status, &body));
    }
    serde_json::from_value(body).map_err(|_| {
        Failure::Failed("the server's answer has another format; do both run the same version?".to_owned())
    })
}

/// The first part of a language tag: `de` of `de-AT`.
fn primary_subtag(tag: &str) -> &str {
    tag.split(['-', '_']).next().unwrap_or(tag)
}

/// Polls a dispatch until it is final or `until` has passed. Calls `changed` for each new version.
pub(super) async fn watch(
    api: &Api, id: Uuid, until: Option<Timestamp>, mut changed: impl FnMut(&Timeline),
) -> Result<Timeline, Failure> {
    let mut version = 0;
    loop {
        let timeline = fetch(api, id).await?;
        if timeline.version != version {
            version = timeline.version;
            changed(&timeline);
        }
        if timeline.is_final || until.is_some_and(|until| until <= crate::domain::clock::now()) {
            return Ok(timeline);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Describes what happened last, and what the dispatch waits for. `until` is the end of the watch, if it has one.
pub(super) fn progress(timeline: &Timeline, until: Option<Timestamp>) -> String {
    let state = timeline.state.to_string();
    let next = timeline.wake_at.map(|at| format!("; next try at {at}")).unwrap_or_default();
    if timeline.waits > 0 && timeline.attempts.last().is_none_or(|last| last.closed_at.is_some()) {
        return format!("{state}: waiting for a carrier with room ({}){next}", times(timeline.waits));
    }
    let Some(attempt) = timeline.attempts.last() else { return state };
    let is_bad = attempt.receipt == Some(ReceiptStatus::Bad);
    let code = attempt.receipt_code.as_ref().filter(|_| is_bad).or(attempt.carrier_code.as_ref());
    let code = code.map(|code| format!(", carrier's code {code}")).unwrap_or_default();
    let waits_for = match (timeline.state, until) {
        (State::Sent, Some(until)) if attempt.receipt.is_none() => {
            format!("; waiting until {} UTC for the receipt", until.strftime("%H:%M:%S"))
        }
        (State::Sent, None) if attempt.receipt.is_none() => {
            "; waiting for the receipt, also after the code has expired".to_owned()
        }
        (State::Queued | State::Sending, _) if attempt.closed_at.is_some() => next,
        _ => String::new(),
    };
    format!("{state}: {} at {} {}{code}{waits_for}", attempt.channel, attempt.carrier, attempt.says)
}

/// Formats the timeline as text. The first column is the time since the admission.
pub(super) fn format_timeline(s: &Timeline) -> String {
    let mut out = String::new();
    let reason = s.reason.map(|r| format!(" ({})", of_reason(r))).unwrap_or_default();
    let channels: Vec<&str> = s.channels.iter().map(|c| c.as_str()).collect();
    let _ = writeln!(out, "{}  to {}  {}{reason}", s.id, s.to, s.state);
    let _ = writeln!(out, "  admitted   {}  by {}", s.admitted_at, channels.join(", then "));
    if let (Some(locale), Some(language)) = (&s.locale, &s.language)
        && !primary_subtag(locale).eq_ignore_ascii_case(primary_subtag(language))
    {
        let _ = writeln!(out, "  language   {language}: there is no template in {locale}");
    }
    for (at, line) in lines(s) {
        let _ = writeln!(out, "  {:>9}  {line}", since(s.admitted_at, at));
    }
    if let Some(stop) = s.stop {
        let _ = writeln!(out, "  stopped: no further request begins ({stop})");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Timeline, format_timeline};

    fn timeline(more: &serde_json::Value) -> Timeline {
        let mut all = json!({
            "id": "0192f0c1-2222-4333-8444-555566667777", "uid": "0192f0c1-2222-7333-8444-555566667777",
            "tenant": "default", "state": "queued", "final": false, "to": "+4477…", "channels": ["sms"], "step": 1,
            "version": 3, "admitted_at": "2026-01-01T12:00:00Z", "expires_at": "2026-01-01T12:05:00Z",
            "tags": {}, "attempts": [],
        });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    /// Fails when the timeline does not say that a dispatch waits for a carrier.
    #[test]
    fn a_wait_for_a_carrier_is_shown() {
        let text = format_timeline(&timeline(&json!({"waits": 2, "wake_at": "2026-01-01T12:00:05Z"})));
        assert!(text.contains("+5.00 s  next try: no carrier had room so far (tried 2 times)"), "{text}");
        let text = format_timeline(&timeline(&json!({"wake_at": "2026-01-01T12:00:05Z"})));
        assert!(text.contains("+5.00 s  next check"), "{text}");
    }

    /// Fails when a corrected receipt is hidden, or the lines are out of order.
    #[test]
    fn a_bad_receipt_that_was_corrected_stays_in_its_place() {
        let attempt = json!({
            "attempt": "0192f0c1-2222-7333-8444-555566667777-1", "step": 1, "channel": "sms", "carrier": "main",
            "begun_at": "2026-01-01T12:00:00Z", "closed_at": "2026-01-01T12:00:01Z", "outcome": "accepted",
            "says": "accepted and delivered", "receipt": "delivered", "receipt_at": "2026-01-01T12:00:09Z",
            "corrected_reason": "unreachable", "corrected_code": "30003", "corrected_at": "2026-01-01T12:00:04Z",
        });
        let text = format_timeline(&timeline(&json!({"attempts": [attempt]})));
        let lines: Vec<&str> = text.lines().skip(2).map(str::trim).collect();
        assert_eq!(
            lines[2..4],
            [
                "+4.00 s    receipt: undelivered (unreachable), carrier's code 30003; corrected by a later one",
                "+9.00 s    receipt: delivered"
            ]
        );
    }

    #[test]
    fn a_language_without_a_template_is_named() {
        let text = format_timeline(&timeline(&json!({"locale": "dee-AT", "language": "en"})));
        assert!(text.contains("en: there is no template in dee-AT"), "{text}");
        let text = format_timeline(&timeline(&json!({"locale": "dee-AT", "language": "de"})));
        assert!(text.contains("de: there is no template in dee-AT"), "{text}");
        let text = format_timeline(&timeline(&json!({"locale": "de-AT", "language": "de"})));
        assert!(!text.contains("template"), "{text}");
    }
}
