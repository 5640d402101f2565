//! `otpost keys`: creates and manages keys.

use clap::{Args, Subcommand};

use super::{ConfigFile, Failure};
use crate::config::Config;
use crate::domain::tenant::ALL_TENANTS;
use crate::http::{NewKey, Scope};
use crate::ledger::{self, Location, Options};
use crate::seal::Root;

/// Create, list and revoke keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Create an API key for the HTTP API; it is shown once and stored as a hash
    Create(Create),
    /// Create a root key, from which otpost derives its own keys; store it in a file of mode 0600
    Root,
    /// List the API keys with their tenants and scopes
    List(List),
    /// Revoke an API key; it stops working within ten seconds
    Revoke(Revoke),
    /// Print the key with which a tenant's producers seal jobs
    Tenant(TenantKey),
    /// Create a secret for a tenant's webhook
    Webhook,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    file: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Public part of the key: the 12 characters between otp_ and the next _
    key: String,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Args)]
pub(super) struct TenantKey {
    #[command(flatten)]
    file: ConfigFile,
    /// Tenant that the key belongs to
    #[arg(long, default_value = "default")]
    tenant: String,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    file: ConfigFile,
    /// Tenant that the key belongs to
    #[arg(long, default_value = "default", conflicts_with = "all_tenants")]
    tenant: String,
    /// Create an operator's key, which belongs to no tenant; its only scope is admin
    #[arg(long)]
    all_tenants: bool,
    /// Scope of the key: dispatch, read, act, admin; may be given several times [default: dispatch, read, act; with --all-tenants: admin]
    #[arg(long = "scope")]
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
            Self::List(list) => list.run().await,
            Self::Revoke(revoke) => revoke.run().await,
            Self::Webhook => {
                use base64::Engine;
                let secret = base64::engine::general_purpose::STANDARD.encode(crate::seal::random::<32>());
                println!("whsec_{secret}");
                Ok(())
            }
            Self::Tenant(tenant) => tenant.run(),
        }
    }
}

async fn open(config: &Config) -> Result<ledger::Ledger, Failure> {
    let location: Location = config.ledger_url().parse()?;
    if let Location::Sqlite(file) = &location
        && !file.exists()
    {
        // Opening a missing file would create an empty ledger.
        return Err(Failure::Failed(format!(
            "there is no ledger at {}; is it the right configuration (--config)? create one with: otpost migrate",
            file.display()
        )));
    }
    let ledger =
        ledger::open(&location, &Options { exclusive: false, ..crate::app::ledger_options(config) })?;
    ledger.check().await?;
    Ok(ledger)
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let keys = open(&self.file.load()?).await?.keys().await?;
        if self.json {
            let shown: Vec<_> = keys
                .iter()
                .map(|k| {
                    serde_json::json!({"id": k.id, "tenant": k.tenant, "scopes": k.scopes,
                                       "created_at": k.created_at, "revoked_at": k.revoked_at})
                })
                .collect();
            println!("{}", serde_json::Value::Array(shown));
            return Ok(());
        }
        if keys.is_empty() {
            println!("There is no key; create one with: otpost keys create");
        }
        for key in keys {
            let made = key.created_at.map_or_else(String::new, |t| t.to_string());
            let revoked = key.revoked_at.map_or_else(String::new, |t| format!("  revoked {t}"));
            let tenant = if key.tenant == ALL_TENANTS { "(all tenants)" } else { &key.tenant };
            println!("{}  {tenant:<16} {:<24} made {made}{revoked}", key.id, key.scopes);
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> Result<(), Failure> {
        // Accepts the whole key as well as its public part.
        let id = self.key.strip_prefix("otp_").and_then(|k| k.split('_').next()).unwrap_or(&self.key);
        if open(&self.file.load()?).await?.revoke_key(id).await? {
            println!("The key is revoked.");
            Ok(())
        } else {
            Err(Failure::Failed(
                "there is no such key, or it was revoked before; see: otpost keys list".to_owned(),
            ))
        }
    }
}

impl TenantKey {
    fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        if !config.knows(&self.tenant) {
            return Err(Failure::Usage(format!(
                "the configuration has no section [tenants.{}]",
                self.tenant
            )));
        }
        println!("{}", config.root()?.tenant(&self.tenant).to_text().as_str());
        eprintln!(
            "The key is an id, a dot and 64 hexadecimal digits. Anyone who has it can seal and open this tenant's jobs."
        );
        Ok(())
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        if !self.all_tenants && !config.knows(&self.tenant) {
            return Err(Failure::Usage(format!(
                "the configuration has no section [tenants.{}]",
                self.tenant
            )));
        }
        let tenant = if self.all_tenants { ALL_TENANTS } else { &self.tenant };
        let ledger = open(&config).await?;
        let key = NewKey::make(tenant, &self.scopes()?);
        ledger.add_key(&key.row).await?;
        if self.json {
            let row = &key.row;
            println!(
                "{}",
                serde_json::json!({"id": row.id, "tenant": row.tenant, "scopes": row.scopes, "key": key.text})
            );
        } else {
            println!("{}", key.text);
            eprintln!("Keep it: it is not shown again. Its scopes: {}.", key.row.scopes.replace(' ', ", "));
        }
        Ok(())
    }

    fn scopes(&self) -> Result<Vec<Scope>, Failure> {
        let given: Vec<Scope> = self
            .scopes
            .iter()
            .map(|s| s.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| Failure::Usage("a scope is one of dispatch, read, act, admin".to_owned()))?;
        match (self.all_tenants, &*given) {
            (false, []) => Ok(vec![Scope::Dispatch, Scope::Read, Scope::Act]),
            (true, [] | [Scope::Admin]) => Ok(vec![Scope::Admin]),
            (true, _) => Err(Failure::Usage(
                "a key for all tenants has only the scope admin: jobs, timelines and acts of senders need a tenant's key"
                    .to_owned(),
            )),
            (false, _) => Ok(given),
        }
    }
}
