//! `two-step events`

use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;

use super::users::core;
use super::{ConfigFile, Failure};

/// Number of events in one query.
const PAGE_SIZE: u32 = 1000;

/// Print events, oldest first.
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    file: ConfigFile,
    /// The product
    #[arg(long)]
    product: String,
    /// Only events after this one
    #[arg(long, value_name = "ID")]
    after: Option<Uuid>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Events {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (core, mut after) = (core(&self.file, &self.product)?, self.after.unwrap_or_default());
        loop {
            let events = core.events_after(&self.product, after, PAGE_SIZE).await?;
            for e in &events {
                if self.json {
                    let data: Value = serde_json::from_str(&e.data).unwrap_or_default();
                    let row = json!({"id": e.id, "type": e.kind, "user": e.user_ref, "at": e.at, "actor": e.actor, "data": data});
                    println!("{row}");
                } else {
                    println!("{}  {}  {}  {}  {}", e.id, e.at, e.kind, e.user_ref, e.actor);
                }
            }
            let Some(last) = events.last().filter(|_| events.len() == PAGE_SIZE as usize) else {
                return Ok(());
            };
            after = last.id;
        }
    }
}
