//! The commands.

mod events;
mod keys;
mod serve;
mod support;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[cfg(feature = "demo")]
pub(crate) use serve::{shutdown_signal, start_logs};

use crate::config::{BadConfig, Config, DEFAULT};
use crate::store::Store;

/// Two-step verification: creates and checks one-time codes; otpost sends them.
#[derive(Debug, Parser)]
#[command(name = "two-step", version, about, long_about = None, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Try it, with nothing installed:  two-step demo
Exit codes: 0 success, 1 failure, 2 invalid command or configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: pages, API, relay
    Serve(serve::Serve),
    /// Run a demo shop on this machine: pages, phones and mailbox on one page
    #[cfg(feature = "demo")]
    Demo(crate::demo::Demo),
    /// Migrate the database's schema to this version
    Migrate(ConfigFile),
    /// Check or print a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create, revoke and rotate keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Show or erase a user
    #[command(subcommand)]
    Users(users::Users),
    /// Open and approve support cases
    #[command(subcommand)]
    Support(support::Support),
    /// Print events, oldest first
    Events(events::Events),
    /// Print the contract of the API, as JSON
    Contracts {
        /// Print the contract of the app's API instead
        #[arg(long)]
        app: bool,
    },
}

/// The location of the configuration.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, env = "TWO_STEP_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        let Some(file) = &self.config else {
            let why = "no configuration file: use --config two-step.toml or set TWO_STEP_CONFIG";
            return Err(Failure::Usage(why.to_owned()));
        };
        Ok(Config::load(Some(file))?)
    }
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration and print the first error; changes nothing
    Check(ConfigFile),
    /// Print the default configuration, with a comment for every key
    Print,
}

/// Why a command failed. It determines the exit code.
pub(crate) enum Failure {
    /// The command or the configuration is invalid: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Failed(String),
}

impl Failure {
    /// The message.
    fn text(&self) -> &str {
        match self {
            Self::Usage(text) | Self::Failed(text) => text,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        if e.downcast_ref::<BadConfig>().is_some() {
            Self::Usage(format!("{e:#}"))
        } else {
            Self::Failed(format!("{e:#}"))
        }
    }
}

impl From<BadConfig> for Failure {
    fn from(e: BadConfig) -> Self {
        Self::Usage(e.to_string())
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(e: crate::store::StoreError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<crate::flow::FlowError> for Failure {
    fn from(e: crate::flow::FlowError) -> Self {
        let next = match &e {
            crate::flow::FlowError::Missing("user") => {
                "; USER is the product's own id, as its back end sends it in `user`"
            }
            crate::flow::FlowError::Missing("case") => "; list the user's events with: two-step events",
            _ => "",
        };
        Self::Failed(format!("{e}{next}"))
    }
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("two-step: cannot start threads: {}", e.kind());
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => serve.run().await,
            #[cfg(feature = "demo")]
            Command::Demo(demo) => demo.run().await,
            Command::Migrate(file) => migrate(&file).await,
            Command::Config(ConfigCommand::Check(file)) => check(&file),
            Command::Config(ConfigCommand::Print) => {
                print!("{DEFAULT}");
                Ok(())
            }
            Command::Keys(keys) => keys.run().await,
            Command::Users(users) => users.run().await,
            Command::Support(support) => support.run().await,
            Command::Events(events) => events.run().await,
            Command::Contracts { app } => {
                let document = if app { crate::api::app_document() } else { crate::api::document() };
                println!("{document:#}");
                Ok(())
            }
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    let (why, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(why)) => (why, 1),
        Err(Failure::Usage(why)) => (why, 2),
    };
    eprintln!("two-step: {why}");
    ExitCode::from(code)
}

async fn migrate(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    let store = Store::open(config.database.url(), config.database.pool)?;
    store.migrate().await?;
    println!("The schema is up to date.");
    Ok(())
}

fn check(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    config.keys()?;
    crate::otpost_client::open(&config)?;
    crate::mail::Mailer::open(&config.smtp)?;
    if config.products.is_empty() {
        return Err(Failure::Usage("no product is configured: add a section [products.NAME]".to_owned()));
    }
    let names: Vec<&str> = config.products.keys().map(String::as_str).collect();
    println!("The configuration is valid. Products: {}.", names.join(", "));
    for warning in config.warnings() {
        println!("Warning: {warning}.");
    }
    Ok(())
}
