//! `otpost config diff`: compares a configuration file with the settings of a running otpost.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Server, problem};
use super::{ConfigFile, Failure};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Diff {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A setting that differs.
struct Change {
    key: String,
    running: Option<String>,
    file: Option<String>,
}

impl Diff {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.file.load_existing()?;
        let ours = config.settings(&config.keys()?);
        let (status, body) = self.server.connect_operator()?.get("/v1/config").await?;
        if status != 200 {
            return Err(problem(status, &body));
        }
        let theirs: BTreeMap<String, String> =
            serde_json::from_value(body["settings"].clone()).map_err(|_| {
                Failure::Failed(
                    "the server's answer has another format; do both run the same version?".to_owned(),
                )
            })?;
        let changes = changes(&theirs, &ours);
        if self.json {
            println!("{:#}", changes.iter().map(Change::json).collect::<Value>());
        } else if changes.is_empty() {
            println!("The running otpost has the settings of the file.");
        } else {
            changes.iter().for_each(Change::print);
        }
        Ok(())
    }
}

fn changes(running: &BTreeMap<String, String>, file: &BTreeMap<String, String>) -> Vec<Change> {
    let mut keys: Vec<&String> = running.keys().chain(file.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let differing = keys.into_iter().filter(|key| running.get(*key) != file.get(*key));
    differing
        .map(|key| Change {
            key: key.clone(),
            running: running.get(key).cloned(),
            file: file.get(key).cloned(),
        })
        .collect()
}

impl Change {
    fn json(&self) -> Value {
        let Self { key, running, file } = self;
        json!({"key": key, "running": running, "file": file, "needs_restart": Config::needs_restart(key)})
    }

    fn print(&self) {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        let effect =
            if Config::needs_restart(&self.key) { "needs a restart" } else { "changes with a reload" };
        println!(
            "{}  {effect}\n  running  {}\n  file     {}",
            self.key,
            shown(&self.running),
            shown(&self.file)
        );
    }
}
