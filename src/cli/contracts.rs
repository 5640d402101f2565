//! `otpost contracts`: prints the machine-readable contracts.

use clap::Args;

use super::Failure;
use crate::http::contracts::Contract;
use crate::ops::dashboard;

/// The name of the dashboard, which is printed beside the contracts.
const DASHBOARD: &str = "dashboard";

/// Print a contract, or list all contracts.
#[derive(Debug, Args)]
pub(super) struct Contracts {
    /// Name of the contract; without it, the contracts are listed
    name: Option<String>,
}

impl Contracts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(name) = self.name else {
            for contract in Contract::ALL {
                println!("{:<10}{}", contract.as_str(), contract.about());
            }
            println!("{DASHBOARD:<10}a dashboard for Grafana (ops/grafana/otpost.json)");
            return Ok(());
        };
        if name == DASHBOARD {
            print!("{}", dashboard::text());
            return Ok(());
        }
        let unknown = |_| {
            Failure::Usage("there is no contract of this name; list them with: otpost contracts".to_owned())
        };
        let contract: Contract = name.parse().map_err(unknown)?;
        print!("{}", contract.text());
        Ok(())
    }
}
