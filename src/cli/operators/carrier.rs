//! `otpost carrier`: lists, pauses, resumes and tries carriers.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{OperatorRequest, duration, get, list, post, report, table, text, time};
use crate::cli::Failure;
use crate::cli::status::stopped;
use crate::http::status::BreakerAnswer;

/// List, pause, resume or try carriers. The key must be an operator's.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Carrier {
    /// List the carriers, with their pauses and open circuit breakers
    List(OperatorRequest),
    /// Send nothing to a carrier, everywhere or in one country; other carriers are used, or dispatches wait
    Pause(Pause),
    /// Use a paused carrier again
    Resume(Resume),
    /// End the waiting time of a carrier's circuit breakers: the next message is let through as a test
    Probe(Why),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pause {
    /// Name of the carrier in the configuration
    name: String,
    /// Only for numbers of this country, as its ISO 3166 code, such as ID; without it, everywhere
    #[arg(long)]
    country: Option<String>,
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
pub(in crate::cli) struct Resume {
    /// End only the pause in this country; without it, all pauses of the carrier
    #[arg(long)]
    country: Option<String>,
    #[command(flatten)]
    why: Why,
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
                let changed = if let Some(country) = pause.country {
                    body["country"] = json!(country);
                    "The carrier is paused in this country; within 2 s it gets no message for it."
                } else {
                    "The carrier is paused; within 2 s no worker sends to it."
                };
                let body = post(&api, &path(&pause.name, "pause")?, &body).await?;
                report(&body, json, changed, "");
                Ok(())
            }
            Self::Resume(Resume { country, why }) => {
                // A pause everywhere still holds in the country.
                let (changed, unchanged) = if country.is_some() {
                    (
                        "The carrier's pause in this country ends within 2 s.",
                        "The carrier had no pause for this country alone; see: otpost carrier list",
                    )
                } else {
                    ("The carrier is used again within 2 s.", "The carrier was not paused.")
                };
                let (body, json) = why.post("resume", country).await?;
                report(&body, json, changed, unchanged);
                Ok(())
            }
            Self::Probe(why) => {
                let (body, json) = why.post("probe", None).await?;
                let changed = "Within 2 s each worker lets its next message to the carrier through.";
                report(&body, json, changed, "");
                Ok(())
            }
        }
    }
}

impl Why {
    async fn post(self, act: &str, country: Option<String>) -> Result<(Value, bool), Failure> {
        let (api, json) = self.request.connect()?;
        let fields = [("reason", self.reason), ("country", country)];
        let body: Value = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
            .collect();
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
    let mut states = vec![if pause.is_object() {
        paused("paused", pause)
    } else if carrier["retired"] == true {
        "retired".to_owned()
    } else {
        "in use".to_owned()
    }];
    for pause in carrier["country_pauses"].as_array().into_iter().flatten() {
        states.push(paused(&format!("paused in {}", text(&pause["country"])), pause));
    }
    for open in carrier["open_breakers"].as_array().into_iter().flatten() {
        if let Ok(open) = serde_json::from_value::<BreakerAnswer>(open.clone()) {
            states.push(format!("circuit breaker open: {}", stopped(&open)));
        }
    }
    let company = carrier["company"].as_str().unwrap_or("(not configured)").to_owned();
    let name = text(&carrier["name"]).to_owned();
    vec![name, company, list(&carrier["channels"]), carrier["rate_per_s"].to_string(), states.join("; ")]
}

/// `paused in ID until 2026-05-04 15:00:00Z: loses texts (by key k)`
fn paused(what: &str, pause: &Value) -> String {
    let until = match &*time(&pause["until"]) {
        "" => "until it is resumed".to_owned(),
        time => format!("until {time}"),
    };
    format!("{what} {until}: {} (by key {})", text(&pause["reason"]), text(&pause["by"]))
}
