//! `otpost contracts`

use clap::Args;

use super::Failure;
use crate::http::contracts::Contract;

/// Print a contract; without a name, list them.
#[derive(Debug, Args)]
pub(super) struct Contracts {
    /// Which
    name: Option<String>,
}

impl Contracts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Some(name) = self.name else {
            for contract in Contract::ALL {
                println!("{:<10}{}", contract.as_str(), contract.about());
            }
            return Ok(());
        };
        let unknown = |_| {
            Failure::Usage("there is no contract of this name; list them with: otpost contracts".to_owned())
        };
        let contract: Contract = name.parse().map_err(unknown)?;
        print!("{}", contract.text());
        Ok(())
    }
}
