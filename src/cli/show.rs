//! `otpost show`: prints the timeline of a dispatch.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::Failure;
use super::client::{Api, Server, problem};
use crate::domain::attempt::ReceiptStatus;
use crate::http::timeline::{AttemptEntry, Timeline};

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
        let timeline =
            if self.watch { watch(&api, self.id, None, |_| {}).await? } else { fetch(&api, self.id).await? };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&timeline).unwrap_or_default());
        } else {
            print!("{}", format_timeline(&timeline));
        }
        Ok(())
    }
}

fn id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "an id is a UUID, such as 0192f0c1-2222-4333-8444-555566667777")
}

pub(super) async fn fetch(api: &Api, id: Uuid) -> Result<Timeline, Failure> {
    let (status, body) = api.get(&format!("/v1/dispatches/{id}")).await?;
    if status != 200 {
        return Err(problem(status, &body));
    }
    serde_json::from_value(body).map_err(|_| Failure::Failed("the answer is of another version".to_owned()))
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

/// Formats the timeline as text. The first column is the time since the admission.
pub(super) fn format_timeline(s: &Timeline) -> String {
    let mut out = String::new();
    let reason = s.reason.map(|r| format!(" ({})", spaced(r.as_str()))).unwrap_or_default();
    let channels: Vec<&str> = s.channels.iter().map(|c| c.as_str()).collect();
    let _ = writeln!(out, "{}  to {}  {}{reason}", s.id, s.to, s.state);
    let _ = writeln!(out, "  admitted   {}  by {}", s.admitted_at, channels.join(", then "));
    let mut lines: Vec<(Timestamp, String)> = s.attempts.iter().flat_map(lines_of).collect();
    if let Some(at) = s.wake_at.filter(|_| !s.is_final) {
        lines.push((at, "next check, if nothing happens before".to_owned()));
    }
    lines.push((s.expires_at, "the code expires".to_owned()));
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        let _ = writeln!(out, "  {:>9}  {line}", since(s.admitted_at, at));
    }
    if let Some(stop) = s.stop {
        let _ = writeln!(out, "  stopped: no further request begins ({stop})");
    }
    out
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
    if let (Some(at), Some(status)) = (a.receipt_at, a.receipt) {
        let reason = a.receipt_reason.map(|r| format!(" ({})", spaced(r.as_str()))).unwrap_or_default();
        let code = if status == ReceiptStatus::Bad { code(&a.receipt_code) } else { String::new() };
        lines.push((at, format!("  receipt: {status}{reason}{code}")));
    }
    lines
}

fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

fn since(from: Timestamp, t: Timestamp) -> String {
    let ms = t.as_millisecond() - from.as_millisecond();
    format!("+{}.{:02} s", ms / 1000, (ms % 1000).abs() / 10)
}
