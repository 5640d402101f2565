//! `otpost erase`: deletes everything that is stored of a number.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::{OperatorRequest, post};
use crate::cli::Failure;

/// Pause between two steps while a worker may still process a dispatch.
const WAIT: Duration = Duration::from_millis(500);
/// Without progress for this time the command gives up. A request to a carrier may take half a minute.
const MAX_IDLE: Duration = Duration::from_secs(90);

/// Delete everything that is stored of a number. The key must be an operator's.
///
/// Deletes its dispatches with their attempts, pending events and receipts, and its quotas. A block of the number stays.
#[derive(Debug, Args)]
pub(in crate::cli) struct Erase {
    /// Number in E.164, such as +447700900123
    number: String,
    /// Cancel the dispatches of the number that are under way
    #[arg(long)]
    force: bool,
    /// Why; for `otpost audit`. It must not name the number
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    request: OperatorRequest,
}

impl Erase {
    pub(in crate::cli) async fn run(self) -> Result<(), Failure> {
        let (api, json) = self.request.connect()?;
        let mut body = json!({"number": self.number, "force": self.force});
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        let is_live = !json && std::io::stderr().is_terminal();
        let (mut deleted, mut cancelled, mut progress_at) = (0, 0, Instant::now());
        loop {
            let step = post(&api, "/v1/erase", &body).await?;
            let count = |name: &str| step[name].as_u64().unwrap_or(0);
            deleted += count("deleted");
            cancelled += count("cancelled");
            if count("deleted") + count("cancelled") > 0 {
                progress_at = Instant::now();
            }
            if is_live {
                eprint!("\r{deleted} dispatches deleted, {} wait for a worker ", count("waiting"));
                let _ = std::io::stderr().flush();
            }
            if step["done"] == true {
                break;
            }
            if progress_at.elapsed() > MAX_IDLE {
                if is_live {
                    eprintln!();
                }
                return Err(Failure::Failed(format!(
                    "{deleted} dispatches were deleted; {} are still processed by a worker: is one running? Then run this again",
                    count("waiting")
                )));
            }
            if count("deleted") == 0 {
                tokio::time::sleep(WAIT).await;
            }
        }
        if is_live {
            eprintln!();
        }
        if json {
            println!("{}", json!({"deleted": deleted, "cancelled": cancelled}));
        } else {
            println!("Nothing of the number is left in the ledger: {deleted} dispatches were deleted.");
            println!(
                "Dead letters in RabbitMQ are sealed and expire by themselves; two-step has a store of its own."
            );
        }
        Ok(())
    }
}
