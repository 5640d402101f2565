//! `otpost send`: sends a code and follows the dispatch.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Failure;
use super::client::{Server, problem};
use super::show::{format_timeline, progress, watch};
use crate::domain::attempt::State;
use crate::domain::channel::Channel;
use crate::domain::clock::after;

/// Send a code through a running otpost.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(super) struct Send {
    /// Phone number in E.164, such as +447700900123
    to: String,
    /// Read the code from standard input or a prompt; without it, a sample code is generated and printed
    #[arg(long)]
    code: bool,
    /// Channel; may be given several times, in the order of fallback
    #[arg(long = "channel", default_values = ["sms"], value_parser = clap::builder::PossibleValuesParser::new(Channel::ALL.iter().map(|channel| channel.as_str())))]
    channels: Vec<String>,
    /// Seconds until the code expires
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    expires_in: u64,
    /// Seconds until the next channel is tried; 0 disables the fallback by time
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    fallback_after: u32,
    /// Language of the message, such as de-AT
    #[arg(long)]
    locale: Option<String>,
    /// Id of the dispatch; the same id and code are never sent twice, and the same id with another code is refused
    #[arg(long, value_parser = super::show::id)]
    id: Option<Uuid>,
    /// Wait for the final state, even after the code has expired without a delivery receipt
    #[arg(long)]
    wait_for_receipt: bool,
    /// Do not wait for a final state
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Send {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let api = self.server.connect()?;
        let code = if self.code { read_code()? } else { sample() };
        let id = self.id.unwrap_or_else(Uuid::new_v4);
        let expires_at = after(crate::domain::clock::now(), Duration::from_secs(self.expires_in));
        let mut job = json!({
            "id": id, "to": self.to, "code": code.as_str(), "expires_at": expires_at, "channels": self.channels,
            "fallback_after_s": self.fallback_after,
        });
        if let Some(locale) = self.locale {
            job["locale"] = json!(locale);
        }
        let (status, body) = api.post("/v1/dispatches", &job).await?;
        if status != 202 && status != 200 {
            return Err(problem(status, &body));
        }
        if !self.code && status == 202 {
            eprintln!("A sample code: {} (--code reads your own code from standard input)", *code);
        }
        if self.no_wait {
            if self.json {
                println!("{body}");
            } else {
                println!("{id}  {}", body["state"].as_str().unwrap_or("queued"));
            }
            return Ok(());
        }
        if !self.json {
            eprintln!("{id}");
        }
        let mut last = String::new();
        let until = (!self.wait_for_receipt).then_some(expires_at);
        let timeline = watch(&api, id, until, |timeline| {
            let line = progress(timeline, until);
            if !self.json && last != line {
                eprintln!("{line}");
                last = line;
            }
        })
        .await?;
        if !timeline.is_final && !self.json {
            eprintln!(
                "The code has expired without a final receipt. Wait for it with: otpost show {id} --watch"
            );
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&timeline).unwrap_or_default());
        } else {
            print!("{}", format_timeline(&timeline));
        }
        if timeline.state == State::Delivered { Ok(()) } else { Err(Failure::AlreadyReported) }
    }
}

fn read_code() -> Result<Zeroizing<String>, Failure> {
    let unreadable = |_| Failure::Usage("the code could not be read from standard input".to_owned());
    let mut text = Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        eprint!("Code (visible while you type): ");
        let _ = std::io::stderr().flush();
        std::io::stdin().read_line(&mut text).map_err(unreadable)?;
    } else {
        std::io::stdin().take(64).read_to_string(&mut text).map_err(unreadable)?;
    }
    // A file may begin with a byte order mark.
    Ok(Zeroizing::new(text.trim_start_matches('\u{feff}').trim().to_owned()))
}

/// Generates six random digits. The code is a sample, not a secret.
fn sample() -> Zeroizing<String> {
    let number = u32::from_be_bytes(crate::seal::random()) % 1_000_000;
    Zeroizing::new(format!("{number:06}"))
}
