//! `otpost carrier`: lists, pauses, resumes and tries carriers.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{OperatorRequest, duration, get, list, post, report, table, text, time};
use crate::cli::Failure;

/// List, pause, resume or try carriers. The key must be an operator's.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Carrier {
    /// List the carriers, with their pauses
    List(OperatorRequest),
    /// Send nothing to a carrier; other carriers are used, or dispatches wait
    Pause(Pause),
    /// Use a paused carrier again
    Resume(Why),
    /// End the waiting time of a carrier's circuit breakers: the next message is let through as a test
    Probe(Why),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pause {
    /// Name of the carrier in the configuration
    name: String,
    /// Why; other operators see it
    #[arg(long)]
    reason: String,
    /// After this time the pause ends by itself, such as 2h; without it, `otpost carrier resume` ends it
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    duration: Option<Duration>,
    #[command(flatten)]
    request: OperatorRequest,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Why {
    /// Name of the carrier in the configuration
    name: String,
    /// Why; for `otpost audit`
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    request: OperatorRequest,
}

impl Carrier {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(request) => {
                let (api, json) = request.connect()?;
                let body = get(&api, "/v1/carriers").await?;
                if json {
                    println!("{body:#}");
                } else {
                    print(&body);
                }
                Ok(())
            }
            Self::Pause(pause) => {
                let (api, json) = pause.request.connect()?;
                let mut body = json!({"reason": pause.reason});
                if let Some(duration) = pause.duration {
                    body["for_s"] = json!(duration.as_secs());
                }
                let body = post(&api, &path(&pause.name, "pause")?, &body).await?;
                report(&body, json, "The carrier is paused; within 2 s no worker sends to it.", "");
                Ok(())
            }
            Self::Resume(why) => {
                let (body, json) = why.post("resume").await?;
                let changed = "The carrier is used again within 2 s.";
                report(&body, json, changed, "The carrier was not paused.");
                Ok(())
            }
            Self::Probe(why) => {
                let (body, json) = why.post("probe").await?;
                let changed = "Within 2 s each worker lets its next message to the carrier through.";
                report(&body, json, changed, "");
                Ok(())
            }
        }
    }
}

impl Why {
    async fn post(self, act: &str) -> Result<(Value, bool), Failure> {
        let (api, json) = self.request.connect()?;
        let body = self.reason.map_or(json!({}), |reason| json!({"reason": reason}));
        Ok((post(&api, &path(&self.name, act)?, &body).await?, json))
    }
}

/// The path of an act. A name has no character that would change it.
fn path(name: &str, act: &str) -> Result<String, Failure> {
    let fits =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if fits {
        Ok(format!("/v1/carriers/{name}/{act}"))
    } else {
        Err(Failure::Usage("a carrier has no such name; see: otpost carrier list".to_owned()))
    }
}

fn print(body: &Value) {
    let rows: Vec<Vec<String>> = body["carriers"].as_array().into_iter().flatten().map(row).collect();
    table::print(&["CARRIER", "COMPANY", "CHANNELS", "RATE/S", "STATE"], &rows);
}

fn row(carrier: &Value) -> Vec<String> {
    let pause = &carrier["pause"];
    let state = if pause.is_object() {
        let until = match &*time(&pause["until"]) {
            "" => "until it is resumed".to_owned(),
            time => format!("until {time}"),
        };
        format!("paused {until}: {} (by key {})", text(&pause["reason"]), text(&pause["by"]))
    } else if carrier["retired"] == true {
        "retired".to_owned()
    } else {
        "in use".to_owned()
    };
    let company = carrier["company"].as_str().unwrap_or("(not configured)").to_owned();
    let name = text(&carrier["name"]).to_owned();
    vec![name, company, list(&carrier["channels"]), carrier["rate_per_s"].to_string(), state]
}
