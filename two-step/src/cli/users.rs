//! `two-step users`

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{ConfigFile, Failure};
use crate::flow::Core;
use crate::store::Store;

/// Show or erase a user.
#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Print a user's state and masked methods
    Show(User),
    /// Erase all data of a user
    Erase(User),
}

/// One user of a product.
#[derive(Debug, Args)]
pub(super) struct User {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The product
    #[arg(long)]
    pub(super) product: String,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// The product's id of the user
    #[arg(value_name = "USER")]
    pub(super) id: String,
}

/// Opens the flows for one product of the configured database.
pub(super) fn core(file: &ConfigFile, product: &str) -> Result<Core, Failure> {
    let config = file.load()?;
    if config.product(product).is_none() {
        return Err(Failure::Usage(format!(
            "there is no section [products.{product}]; use a product of the configuration"
        )));
    }
    let (store, keys) = (Store::open(config.database.url(), 1)?, config.keys()?);
    Ok(Core::new(store, keys, Arc::new(config)))
}

impl Users {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let of = match self {
            Self::Show(of) => of,
            Self::Erase(of) => {
                core(&of.file, &of.product)?.erase(&of.product, &of.id).await?;
                println!("Erased.");
                return Ok(());
            }
        };
        let core = core(&of.file, &of.product)?;
        let (account, methods) = core.user(&of.product, &of.id).await?;
        let codes = core.recovery_codes_left(account.id).await?;
        if of.json {
            let rows: Vec<_> = methods
                .iter()
                .map(|m| json!({"id": m.id, "kind": m.kind.to_string(), "state": m.state.to_string(), "reason": m.reason,
                                "hint": m.hint, "preferred": m.preferred}))
                .collect();
            let shown = json!({"user": account.user_ref, "state": account.state.to_string(),
                               "paused_until": account.paused_until, "methods": rows, "recovery_codes_left": codes});
            println!("{shown}");
            return Ok(());
        }
        println!("{}: {}, {codes} recovery codes left", account.user_ref, account.state);
        for m in methods {
            let preferred = if m.preferred { "  preferred" } else { "" };
            println!("{}  {}  {}  {}{preferred}", m.id, m.kind, m.state, m.hint);
        }
        Ok(())
    }
}
