//! `otpost audit`: lists what operators did.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{OperatorRequest, duration, get, table, text, time};
use crate::cli::Failure;
use crate::cli::client::Api;

/// Number of records that are read at once.
const RECORDS_PER_PAGE: usize = 1000;

/// List what operators did, newest first. The key must be an operator's.
#[derive(Debug, Args)]
pub(in crate::cli) struct Audit {
    /// How far back, such as 7d
    #[arg(long, value_parser = duration, default_value = "7d", value_name = "DURATION")]
    since: Duration,
    #[command(flatten)]
    request: OperatorRequest,
}

impl Audit {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let (api, json) = self.request.connect()?;
        let since =
            crate::domain::clock::now().checked_sub(self.since).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let records = read(&api, since).await?;
        if json {
            println!("{:#}", json!({"records": records}));
        } else if records.is_empty() {
            println!("No operator has done anything since {}.", since.strftime("%Y-%m-%d %H:%M:%SZ"));
        } else {
            let row = |record: &Value| {
                let field = |name: &str| text(&record[name]).to_owned();
                vec![time(&record["at"]), field("who"), field("act"), field("subject"), field("reason")]
            };
            let rows: Vec<Vec<String>> = records.iter().map(row).collect();
            table::print(&["TIME", "BY KEY", "ACT", "SUBJECT", "REASON"], &rows);
        }
        Ok(())
    }
}

async fn read(api: &Api, since: jiff::Timestamp) -> Result<Vec<Value>, Failure> {
    let (mut records, mut cursor) = (vec![], String::new());
    loop {
        let page = get(api, &format!("/v1/audit?since={since}&limit={RECORDS_PER_PAGE}{cursor}")).await?;
        records.extend(page["records"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(records),
        }
    }
}
