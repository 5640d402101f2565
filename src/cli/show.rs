//! `otpost show`: the whole story of a dispatch.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use uuid::Uuid;

use super::Failure;
use super::client::{Api, Server, problem};
use crate::http::timeline::Timeline;

/// Show the whole story of a dispatch.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The id that it was sent with
    id: Uuid,
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Go on until it has ended
    #[arg(long, short)]
    watch: bool,
}

impl Show {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let api = self.server.connect()?;
        let timeline =
            if self.watch { watch(&api, self.id, |_| {}).await? } else { fetch(&api, self.id).await? };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&timeline).unwrap_or_default());
        } else {
            print!("{}", tell(&timeline));
        }
        Ok(())
    }
}

pub(super) async fn fetch(api: &Api, id: Uuid) -> Result<Timeline, Failure> {
    let (status, body) = api.get(&format!("/v1/dispatches/{id}")).await?;
    if status != 200 {
        return Err(problem(status, &body));
    }
    serde_json::from_value(body).map_err(|_| Failure::Failed("the answer is of another version".to_owned()))
}

/// Follows a dispatch until it has ended; `changed` hears of each version.
pub(super) async fn watch(
    api: &Api, id: Uuid, mut changed: impl FnMut(&Timeline),
) -> Result<Timeline, Failure> {
    let mut version = 0;
    loop {
        let timeline = fetch(api, id).await?;
        if timeline.version != version {
            version = timeline.version;
            changed(&timeline);
        }
        if timeline.is_final {
            return Ok(timeline);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// The story in words.
pub(super) fn tell(s: &Timeline) -> String {
    let mut out = String::new();
    let reason = s.reason.map(|r| format!(" ({})", r.as_str().replace('_', " "))).unwrap_or_default();
    let at = |t: Timestamp| since(s.admitted_at, t);
    let channels: Vec<&str> = s.channels.iter().map(|c| c.as_str()).collect();
    let _ = writeln!(out, "{}  to {}  {}{reason}", s.id, s.to, s.state);
    let _ = writeln!(out, "  admitted   {}  by {}", s.admitted_at, channels.join(", then "));
    for a in &s.attempts {
        let _ = writeln!(out, "  {:>9}  {} at {}: {}", at(a.begun_at), a.channel, a.carrier, a.says);
        if let (Some(closed), Some(outcome)) = (a.closed_at, &a.outcome) {
            let code = a.carrier_code.as_ref().map(|c| format!(", carrier's code {c}")).unwrap_or_default();
            let reference = a.reference.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "  {:>9}    answer: {}{code}{reference}",
                at(closed),
                outcome.replace('_', " ")
            );
        }
        if let (Some(when), Some(verdict)) = (a.receipt_at, a.receipt) {
            let _ = writeln!(out, "  {:>9}    receipt: {verdict}", at(when));
        }
    }
    if let Some(stop) = s.stop {
        let _ = writeln!(out, "  stopped: nothing further begins ({stop})");
    }
    let _ =
        writeln!(out, "  {:>9}  {} the code ends", at(s.expires_at), if s.is_final { "" } else { "then" });
    out
}

fn since(from: Timestamp, t: Timestamp) -> String {
    let ms = t.as_millisecond() - from.as_millisecond();
    format!("+{}.{:02} s", ms / 1000, (ms % 1000).abs() / 10)
}
