//! `otpost block`: blocks numbers, prefixes and countries.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{OperatorRequest, duration, get, post, report, table, text, time};
use crate::cli::Failure;

/// Block numbers, prefixes and countries: jobs for them are refused. The key must be an operator's.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Block {
    /// Refuse jobs for a number, a prefix or a country; dispatches under way are not stopped
    Add(Add),
    /// Accept jobs again
    Remove(Remove),
    /// List the blocks
    List(OperatorRequest),
}

/// What a block applies to.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// Number in E.164, such as +447700900123
    #[arg(value_parser = number)]
    number: Option<String>,
    /// First digits of numbers, such as +4479
    #[arg(long)]
    prefix: Option<String>,
    /// Country, as its ISO 3166 code, such as GB
    #[arg(long)]
    country: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    #[command(flatten)]
    subject: Subject,
    /// Why; other operators see it
    #[arg(long)]
    reason: String,
    /// After this time the block ends by itself, such as 2h; without it, `otpost block remove` ends it
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    duration: Option<Duration>,
    #[command(flatten)]
    request: OperatorRequest,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Remove {
    #[command(flatten)]
    subject: Subject,
    /// Why; for `otpost audit`
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    request: OperatorRequest,
}

fn number(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix('+').map_or(0, |rest| rest.bytes().filter(u8::is_ascii_digit).count());
    if digits >= 7 {
        return Ok(text.to_owned());
    }
    Err("a number has + and at least 7 digits; for its first digits use --prefix, for a country --country")
}

impl Block {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => {
                let (api, json) = add.request.connect()?;
                let mut body = add.subject.body(Some(add.reason));
                if let Some(duration) = add.duration {
                    body["for_s"] = json!(duration.as_secs());
                }
                let body = post(&api, "/v1/blocks", &body).await?;
                report(&body, json, "It is blocked; within 2 s every process refuses jobs for it.", "");
                Ok(())
            }
            Self::Remove(remove) => {
                let (api, json) = remove.request.connect()?;
                let body = post(&api, "/v1/blocks/remove", &remove.subject.body(remove.reason)).await?;
                let unchanged = "It was not blocked by an operator; see: otpost block list";
                report(&body, json, "The block is removed; it ends within 2 s.", unchanged);
                Ok(())
            }
            Self::List(request) => {
                let (api, json) = request.connect()?;
                let body = get(&api, "/v1/blocks").await?;
                if json {
                    println!("{body:#}");
                } else {
                    print(&body);
                }
                Ok(())
            }
        }
    }
}

impl Subject {
    fn body(self, reason: Option<String>) -> Value {
        let fields =
            [("number", self.number), ("prefix", self.prefix), ("country", self.country), ("reason", reason)];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect()
    }
}

fn print(body: &Value) {
    let blocks = body["blocks"].as_array().map_or(&[][..], Vec::as_slice);
    if blocks.is_empty() {
        println!("Nothing is blocked by an operator.");
        return;
    }
    let row = |block: &Value| {
        let until = match time(&block["until"]) {
            none if none.is_empty() => "removed by hand".to_owned(),
            time => time,
        };
        let field = |name: &str| text(&block[name]).to_owned();
        vec![field("kind"), field("value"), time(&block["at"]), until, field("by"), field("reason")]
    };
    let rows: Vec<Vec<String>> = blocks.iter().map(row).collect();
    table::print(&["KIND", "VALUE", "SINCE", "UNTIL", "BY KEY", "REASON"], &rows);
}
