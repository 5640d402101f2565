//! `otpost quota`: shows and resets the quotas of a number.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{OperatorRequest, post, table, text, time};
use crate::cli::Failure;

/// Show or reset the quotas of a number. The key must be an operator's.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Quota {
    /// Show how much of each rule is used, and when it admits the next message
    Show(OfNumber),
    /// Forget the messages that were counted, so that all rules admit again
    Reset(OfNumber),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OfNumber {
    /// Number in E.164, such as +447700900123
    number: String,
    /// Only the quotas of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Why; for `otpost audit`
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    request: OperatorRequest,
}

impl Quota {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Show(number) => {
                let (body, json) = number.post("/v1/quota/show").await?;
                if json {
                    println!("{body:#}");
                } else {
                    print(&body);
                }
            }
            Self::Reset(number) => {
                let (body, json) = number.post("/v1/quota/reset").await?;
                if json {
                    println!("{body}");
                } else {
                    println!(
                        "All rules admit messages to this number again ({} quotas had uses).",
                        body["reset"]
                    );
                }
            }
        }
        Ok(())
    }
}

impl OfNumber {
    async fn post(self, path: &str) -> Result<(Value, bool), Failure> {
        let (api, json) = self.request.connect()?;
        let mut body = json!({"number": self.number});
        for (name, value) in [("tenant", self.tenant), ("reason", self.reason)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        Ok((post(&api, path, &body).await?, json))
    }
}

fn print(body: &Value) {
    println!("{}", text(&body["number"]));
    let row = |rule: &Value| {
        let next = match time(&rule["free_at"]) {
            now if now.is_empty() => "now".to_owned(),
            time => time,
        };
        let tenant = rule["tenant"].as_str().unwrap_or("(all tenants)").to_owned();
        let field = |name: &str| text(&rule[name]).to_owned();
        vec![tenant, field("counts"), field("rule"), format!("{} of {}", rule["used"], rule["limit"]), next]
    };
    let rows: Vec<Vec<String>> = body["rules"].as_array().into_iter().flatten().map(row).collect();
    table::print(&["TENANT", "COUNTS", "RULE", "USED", "NEXT"], &rows);
}
