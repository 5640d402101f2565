//! `otpost keys`

use clap::{Args, Subcommand};

use super::{ConfigFile, Failure};
use crate::api::{NewKey, Scope};
use crate::ledger::{self, Location, Options};
use crate::seal::Root;

/// Make keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a bearer key for the HTTP doors; it is shown once, and kept as a hash
    Create(Create),
    /// Make a root for all of otpost's own keys, for a file of mode 0600
    Root,
    /// Print the key under which a tenant's producers seal their jobs
    Tenant(TenantKey),
}

#[derive(Debug, Args)]
pub(super) struct TenantKey {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose key it is
    #[arg(long, default_value = "default")]
    tenant: String,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose key it is
    #[arg(long, default_value = "default")]
    tenant: String,
    /// What it may do: dispatch, read, act, admin; may be given several times
    #[arg(long = "scope", default_values = ["dispatch", "read", "act"])]
    scopes: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Root => {
                println!("{}", Root::random("k1").to_hex().as_str());
                Ok(())
            }
            Self::Create(create) => create.run().await,
            Self::Tenant(tenant) => tenant.run(),
        }
    }
}

impl TenantKey {
    fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        if !config.knows(&self.tenant) {
            return Err(Failure::Usage(
                "this tenant has no section [tenants.NAME] in the configuration".to_owned(),
            ));
        }
        let (kid, key) = config.tenant_key(&self.tenant)?;
        println!("{kid}.{}", key.as_str());
        eprintln!(
            "The key's id, a dot, and 64 hexadecimal digits. Who has it can seal, and open, this tenant's jobs."
        );
        Ok(())
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        if !config.knows(&self.tenant) {
            return Err(Failure::Usage(
                "this tenant has no section [tenants.NAME] in the configuration".to_owned(),
            ));
        }
        let scopes: Vec<Scope> = self
            .scopes
            .iter()
            .map(|s| s.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| Failure::Usage("a scope is one of dispatch, read, act, admin".to_owned()))?;
        let location: Location = config.ledger_url().parse()?;
        let ledger = ledger::open(&location, Options::default())?;
        ledger.check().await?;
        let key = NewKey::make(&self.tenant, &scopes);
        ledger.add_key(&key.row).await?;
        if self.json {
            let row = &key.row;
            println!(
                "{}",
                serde_json::json!({"id": row.id, "tenant": row.tenant, "scopes": row.scopes, "key": key.text})
            );
        } else {
            println!("{}", key.text);
            eprintln!("Keep it: it is not shown again. It may: {}.", key.row.scopes.replace(' ', ", "));
        }
        Ok(())
    }
}
