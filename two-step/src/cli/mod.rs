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

/// Two-step verification: makes and checks one-time codes; otpost carries them.
#[derive(Debug, Parser)]
#[command(name = "two-step", version, about, long_about = None, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Try it, with nothing installed:  two-step demo
Exit codes: 0 well, 1 it failed, 2 the command or the configuration is wrong";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: pages, API, relay
    Serve(serve::Serve),
    /// Show a whole shop on this machine: pages, phones and mailbox on one screen
    #[cfg(feature = "demo")]
    Demo(crate::demo::Demo),
    /// Migrate the database's schema to this version
    Migrate(ConfigFile),
    /// Check or print a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, revoke and rotate keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Show or erase a user
    #[command(subcommand)]
    Users(users::Users),
    /// Help a user who cannot prove anything
    #[command(subcommand)]
    Support(support::Support),
    /// Print what happened, oldest first
    Events(events::Events),
    /// Print the contract of the API, as JSON
    Contracts {
        /// The API of the product's own app instead
        #[arg(long)]
        app: bool,
    },
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, env = "TWO_STEP_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        let Some(file) = &self.config else {
            let why = "which configuration? Name it with --config two-step.toml, or in TWO_STEP_CONFIG";
            return Err(Failure::Usage(why.to_owned()));
        };
        Ok(Config::load(Some(file))?)
    }
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read a configuration, say what is wrong with it, and change nothing
    Check(ConfigFile),
    /// Print the default configuration, every key with its comment
    Print,
}

/// Why a command failed. It decides the exit code.
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
            crate::flow::FlowError::Missing("case") => "; the events of the user name it: two-step events",
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
            eprintln!("two-step: no threads: {}", e.kind());
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
    println!("The configuration is good. Products: {}.", names.join(", "));
    for warning in config.warnings() {
        println!("Warning: {warning}.");
    }
    Ok(())
}
