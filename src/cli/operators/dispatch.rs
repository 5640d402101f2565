//! `otpost dispatch`: finds, shows, cancels and retries dispatches of all tenants.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{OperatorRequest, duration, get, list, post, table, text, time};
use crate::cli::Failure;
use crate::cli::client::Api;
use crate::cli::show;
use crate::domain::attempt::State;
use crate::http::timeline::Timeline;

/// Find, show, cancel or retry dispatches of all tenants. The key must be an operator's.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Dispatch {
    /// List dispatches, newest first; by default those of the last hour
    List(List),
    /// Show the timeline of a dispatch
    Show(One),
    /// Make no further request for a dispatch
    Cancel(Act),
    /// Make a dispatch due now that waits because no carrier had room
    Retry(Act),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only those to this number, in E.164
    #[arg(long, conflicts_with = "id")]
    number: Option<String>,
    /// Only those with this id: the sender's, or otpost's
    #[arg(long, value_parser = show::id)]
    id: Option<Uuid>,
    /// Only those in this state
    #[arg(long, value_parser = states())]
    state: Option<String>,
    /// Only those of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// How far back, such as 2h
    #[arg(long, value_parser = duration, value_name = "DURATION", conflicts_with = "from")]
    since: Option<Duration>,
    /// Admitted from this time on (RFC 3339)
    #[arg(long)]
    from: Option<Timestamp>,
    /// Admitted before this time (RFC 3339)
    #[arg(long)]
    to: Option<Timestamp>,
    /// Maximum number, 1 to 200
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Continue a list, with the cursor that it ended with
    #[arg(long)]
    cursor: Option<Uuid>,
    #[command(flatten)]
    request: OperatorRequest,
}

/// A dispatch that is named by its id.
#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// Id of the dispatch: the sender's, or otpost's
    #[arg(value_parser = show::id)]
    id: Uuid,
    /// Tenant, if several have sent with the same id
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    request: OperatorRequest,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Act {
    #[command(flatten)]
    one: One,
    /// Why; for `otpost audit`
    #[arg(long)]
    reason: Option<String>,
}

fn states() -> PossibleValuesParser {
    PossibleValuesParser::new(State::ALL.iter().map(|state| state.as_str()))
}

impl Dispatch {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(one) => one.show().await,
            Self::Cancel(act) => act.run("cancel", "No further request begins for this dispatch").await,
            Self::Retry(act) => act.run("retry", "The dispatch is due, and a worker takes it").await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (api, json) = self.request.connect()?;
        let since = self.since.and_then(|since| crate::domain::clock::now().checked_sub(since).ok());
        let mut search = json!({"limit": self.limit});
        for (name, value) in [
            ("number", self.number.map(Value::from)),
            ("id", self.id.map(|id| json!(id))),
            ("state", self.state.map(Value::from)),
            ("tenant", self.tenant.map(Value::from)),
            ("from", self.from.or(since).map(|from| json!(from))),
            ("to", self.to.map(|to| json!(to))),
            ("cursor", self.cursor.map(|cursor| json!(cursor))),
        ] {
            if let Some(value) = value {
                search[name] = value;
            }
        }
        let body = post(&api, "/v1/operator/dispatches/search", &search).await?;
        if json {
            println!("{body:#}");
        } else {
            print(&body);
        }
        Ok(())
    }
}

impl One {
    async fn show(self) -> Result<(), Failure> {
        let (api, json) = self.request.connect()?;
        let uid = find(&api, self.id, self.tenant.as_deref()).await?;
        let body = get(&api, &format!("/v1/operator/dispatches/{uid}")).await?;
        if json {
            println!("{body:#}");
            return Ok(());
        }
        let timeline: Timeline = serde_json::from_value(body).map_err(|_| {
            Failure::Failed(
                "the server's answer has another format; do both run the same version?".to_owned(),
            )
        })?;
        print!("{}", show::format_timeline(&timeline));
        println!("  tenant     {}", timeline.tenant);
        Ok(())
    }
}

impl Act {
    async fn run(self, act: &str, done: &str) -> Result<(), Failure> {
        let One { id, tenant, request } = self.one;
        let (api, json) = request.connect()?;
        let uid = find(&api, id, tenant.as_deref()).await?;
        let body = self.reason.map_or(json!({}), |reason| json!({"reason": reason}));
        let body = post(&api, &format!("/v1/operator/dispatches/{uid}/{act}"), &body).await?;
        if json {
            println!("{body}");
        } else {
            println!("{done}; its state is {}.", text(&body["state"]));
        }
        Ok(())
    }
}

/// Returns otpost's id of the dispatch with this id.
async fn find(api: &Api, id: Uuid, tenant: Option<&str>) -> Result<String, Failure> {
    let mut search = json!({"id": id});
    if let Some(tenant) = tenant {
        search["tenant"] = tenant.into();
    }
    let body = post(api, "/v1/operator/dispatches/search", &search).await?;
    let found = body["dispatches"].as_array().map_or(&[][..], Vec::as_slice);
    match found {
        [] => Err(Failure::Failed(
            "no tenant has a dispatch with this id; see: otpost dispatch list".to_owned(),
        )),
        [one] => Ok(text(&one["uid"]).to_owned()),
        several => {
            let tenants: Vec<&str> = several.iter().map(|one| text(&one["tenant"])).collect();
            let tenants = tenants.join(", ");
            Err(Failure::Usage(format!("several tenants have this id ({tenants}); name one with --tenant")))
        }
    }
}

fn print(body: &Value) {
    let dispatches = body["dispatches"].as_array().map_or(&[][..], Vec::as_slice);
    if dispatches.is_empty() {
        println!(
            "No dispatch was found. Without --number or --id, only the last hour is searched; see --since."
        );
    } else {
        let rows: Vec<Vec<String>> = dispatches.iter().map(row).collect();
        table::print(&["ADMITTED", "ID", "TENANT", "TO", "CHANNELS", "CARRIER", "STATE"], &rows);
    }
    if let Some(next) = body["next"].as_str() {
        println!("There may be more: --cursor {next}");
    }
}

fn row(dispatch: &Value) -> Vec<String> {
    let field = |name: &str| text(&dispatch[name]).to_owned();
    let reason = dispatch["reason"].as_str().or(dispatch["stop"].as_str());
    let reason = reason.map(|reason| format!(" ({})", reason.replace('_', " "))).unwrap_or_default();
    let carrier = dispatch["carrier"].as_str().unwrap_or("-").to_owned();
    vec![
        time(&dispatch["admitted_at"]),
        field("id"),
        field("tenant"),
        field("to"),
        list(&dispatch["channels"]),
        carrier,
        format!("{}{reason}", text(&dispatch["state"])),
    ]
}
