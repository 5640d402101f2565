//! `two-step keys`

use clap::Subcommand;
use strum::VariantArray;

use super::{ConfigFile, Failure};
use crate::api::{NewKey, Scope};
use crate::flow::Core;
use crate::seal::Root;
use crate::store::{ApiKey, Store};

/// Create, revoke and rotate keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print a new root, for `keys.root_file`
    Root,
    /// Create a bearer key for a product's back end, and print it once
    Create {
        #[command(flatten)]
        file: ConfigFile,
        /// The product
        #[arg(long)]
        product: String,
        /// Scopes; default: challenge, manage, read
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// List the bearer keys of all products
    List(ConfigFile),
    /// Revoke a bearer key by its id, the twelve characters after `ts_`
    Revoke {
        #[command(flatten)]
        file: ConfigFile,
        /// The id
        id: String,
    },
    /// Publish a new signing key for results; it signs after 24 hours
    Rotate(ConfigFile),
}

impl clap::ValueEnum for Scope {
    fn value_variants<'a>() -> &'a [Self] {
        Self::VARIANTS
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let word: &'static str = self.into();
        Some(clap::builder::PossibleValue::new(word))
    }
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Root => println!("{}", &*Root::random("new").to_hex()),
            Self::Create { file, product, scopes } => {
                let config = file.load()?;
                if config.product(&product).is_none() {
                    return Err(Failure::Usage(format!("there is no section [products.{product}]")));
                }
                let scopes = if scopes.is_empty() {
                    vec![Scope::Challenge, Scope::Manage, Scope::Read]
                } else {
                    scopes
                };
                let key = NewKey::make(&config.keys()?, &product, &scopes);
                let mut tx = Store::open(config.database.url(), 1)?.begin().await?;
                tx.insert(&key.row).await?;
                tx.commit().await?;
                println!("{}", key.text);
            }
            Self::List(file) => {
                let config = file.load()?;
                let mut tx = Store::open(config.database.url(), 1)?.begin().await?;
                for key in tx.select::<ApiKey>("order by product, created_at", &[]).await? {
                    println!("{}  {}  {}  {}", key.id, key.product, key.created_at, key.scopes);
                }
            }
            Self::Revoke { file, id } => {
                let config = file.load()?;
                let mut tx = Store::open(config.database.url(), 1)?.begin().await?;
                if tx.get::<ApiKey>(id.clone()).await?.is_none() {
                    return Err(Failure::Failed("there is no key with this id".to_owned()));
                }
                tx.delete::<ApiKey>(id).await?;
                tx.commit().await?;
                println!("Revoked.");
            }
            Self::Rotate(file) => {
                let config = file.load()?;
                let store = Store::open(config.database.url(), 1)?;
                let keys = config.keys()?;
                let core = Core::new(store, keys, std::sync::Arc::new(config));
                if core.rotate_signing_keys(true).await? {
                    println!("A new key is published. It signs in 24 hours.");
                } else {
                    println!("Nothing changed: a new key is already published and signs within 24 hours.");
                }
            }
        }
        Ok(())
    }
}
