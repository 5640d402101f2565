//! `otpost events`: prints events as they happen.

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::client::Server;
use super::serve::stop_signal;

/// Follow a tenant's events as they happen.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Follow events until interrupted; without this option, exit after the first event
    #[arg(long, short)]
    follow: bool,
    /// Print each event as JSON, one per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let api = self.server.connect()?;
        let mut lines = api.stream("/v1/events").await?;
        eprintln!("Printing new events. Stop with Ctrl-C.");
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = stop_signal() => return Ok(()),
            };
            let Some(line) = line else {
                return Err(Failure::Failed("otpost ended the stream; start the command again".to_owned()));
            };
            let Some(data) = line.strip_prefix("data:") else { continue };
            let data = data.trim_start();
            if self.json {
                println!("{data}");
            } else if let Ok(event) = serde_json::from_str::<Value>(data) {
                println!("{}", format_event(&event));
            }
            if !self.follow {
                return Ok(());
            }
        }
    }
}

/// Formats an event as one line.
fn format_event(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Some(data) = event.get("data").filter(|d| d.is_object()) else {
        return format!("{event} events were missed: this listener was too slow");
    };
    let mut line = format!("{}  {}  {:<11}", text(&event["time"]), text(&data["id"]), text(&data["state"]));
    for name in ["channel", "carrier", "reason"] {
        if let Some(value) = data[name].as_str() {
            line.push_str("  ");
            line.push_str(value);
        }
    }
    line
}
