//! The commands.
//!
//! Comes in: arguments. Goes out: text for people, or JSON with `--json`. Nothing here makes a decision about a dispatch.
//! `serve` starts the server in [`app`](crate::app) and reloads it on SIGHUP.

mod check;
mod client;
mod contracts;
mod dead;
#[cfg(feature = "dev")]
mod demo;
#[cfg(feature = "dev")]
mod dev;
mod diff;
mod doctor;
mod events;
mod keys;
mod operators;
mod probe;
mod publish;
mod send;
mod serve;
mod show;
mod state_file;
mod status;
#[cfg(test)]
mod tests;
mod top;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::app::Roles;
use crate::broker::Broker;
use crate::config::{self, Config};

/// Delivers one-time codes by text message or voice call.
#[derive(Debug, Parser)]
#[command(name = "otpost", version, about, long_about = None, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Try it, with nothing installed:  otpost demo
Play with it, and read the texts in a browser:  otpost dev
Exit codes: 0 success, 1 failure, 2 invalid command or configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: accept jobs, send messages, receive delivery receipts
    Serve(serve::Serve),
    /// Run everything on this machine, with a mock carrier whose phones are shown in a browser
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Run example scenarios with a mock carrier, on free ports and a temporary file, and check their results
    #[cfg(feature = "dev")]
    Demo(demo::Demo),
    /// Send a code through a running otpost, and follow its states
    Send(send::Send),
    /// Show the timeline of a dispatch
    Show(show::Show),
    /// Show whether codes arrive, and what is wrong
    Status(status::StatusCommand),
    /// The same in this terminal, updated every two seconds
    Top(top::Top),
    /// Follow events as they happen
    Events(events::Events),
    /// Manage a tenant's webhook
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
    /// List, pause, resume or try carriers
    #[command(subcommand)]
    Carrier(operators::carrier::Carrier),
    /// Block numbers, prefixes and countries
    #[command(subcommand)]
    Block(operators::block::Block),
    /// Find, show, cancel or retry dispatches of all tenants
    #[command(subcommand)]
    Dispatch(operators::dispatch::Dispatch),
    /// Show or reset the quotas of a number
    #[command(subcommand)]
    Quota(operators::quota::Quota),
    /// Delete everything that is stored of a number
    Erase(operators::erase::Erase),
    /// List what operators did
    Audit(operators::audit::Audit),
    /// Seal a job for RabbitMQ
    Seal(publish::Seal),
    /// Publish a job, or an act on a dispatch, to RabbitMQ
    Publish(publish::Publish),
    /// List, replay or delete dead letters
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Migrate the ledger's schema, and declare RabbitMQ's exchanges and queues
    Migrate(Migrate),
    /// Check everything that a deployment needs, and say what to fix
    Doctor(doctor::Doctor),
    /// Check or print a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a machine-readable contract as JSON; without a name, list the contracts
    Contracts(contracts::Contracts),
    /// Create, list and revoke keys
    #[command(subcommand)]
    Keys(keys::Keys),
}

/// The location of the configuration.
#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file; without it, the defaults and environment variables are used
    #[arg(long, env = "OTPOST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// Loads the configuration, and checks its URLs.
    fn load(&self) -> Result<Config, Failure> {
        let config = Config::load(self.config.as_deref())?;
        config.ledger_url().parse::<crate::ledger::Location>().map_err(|e| Failure::Usage(e.to_string()))?;
        crate::app::broker_nodes(&config).map_err(|e| Failure::Usage(e.to_string()))?;
        Ok(config)
    }

    /// Loads the configuration of a deployment that exists. Without a file and a key there is none, and the hint to create a key
    /// would mislead.
    fn load_existing(&self) -> Result<Config, Failure> {
        let config = self.load()?;
        if self.config.is_none() && config.keys.root.is_none() {
            return Err(Failure::Usage(
                "name the configuration of the deployment: --config FILE, or the variable OTPOST_CONFIG"
                    .to_owned(),
            ));
        }
        Ok(config)
    }
}

#[derive(Debug, Args)]
struct Migrate {
    #[command(flatten)]
    file: ConfigFile,
    /// Print the schema and the topology, and change nothing
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration and print the first error; changes nothing
    Check(check::Check),
    /// Print the default configuration, with a comment for every key
    Print,
    /// Compare a configuration with the settings of a running otpost; the key must be an operator's
    Diff(diff::Diff),
}

/// A role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Serve the HTTP API
    Api,
    /// Consume jobs from RabbitMQ, and send due dispatches
    Worker,
    /// Serve carriers' callbacks
    Receipts,
}

fn roles(named: &[Role]) -> Roles {
    let has = |role| named.contains(&role);
    Roles { api: has(Role::Api), worker: has(Role::Worker), receipts: has(Role::Receipts) }
}

/// Why a command failed. It determines the exit code.
enum Failure {
    /// The command or the configuration is wrong: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Failed(String),
    /// The command failed and has already printed why: exit code 1.
    AlreadyReported,
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        Self::Failed(format!("{e:#}"))
    }
}

impl From<config::BadConfig> for Failure {
    fn from(e: config::BadConfig) -> Self {
        Self::Usage(e.to_string())
    }
}

impl From<crate::ledger::LedgerError> for Failure {
    fn from(e: crate::ledger::LedgerError) -> Self {
        Self::Failed(e.to_string())
    }
}

/// How the user has called this program: through cargo, or by its name.
#[cfg(feature = "dev")]
fn program() -> &'static str {
    let is_run_by_cargo = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == "otpost");
    match (is_run_by_cargo, cfg!(debug_assertions)) {
        (true, false) => "cargo run --release --",
        (true, true) => "cargo run --",
        (false, _) => "otpost",
    }
}

/// Exit code of a program whose output nobody reads any more: 128 and the number of SIGPIPE.
const NO_READER: i32 = 141;

/// Ends the program quietly if nobody reads its output any more, as after `| head`. Without this, `println!` panics.
fn end_without_a_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if text.starts_with("failed printing to stdout") {
            std::process::exit(NO_READER);
        }
        usual(info);
    }));
}

/// Parses the command line, runs the command, and returns its exit code.
pub fn run() -> ExitCode {
    end_without_a_reader();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("otpost: cannot start threads: {}", e.kind());
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => serve.run().await,
            #[cfg(feature = "dev")]
            Command::Dev(dev) => dev.run().await,
            #[cfg(feature = "dev")]
            Command::Demo(demo) => demo.run().await,
            Command::Send(send) => send.run().await,
            Command::Show(show) => show.run().await,
            Command::Status(status) => status.run().await,
            Command::Top(top) => top.run().await,
            Command::Events(events) => events.run().await,
            Command::Webhooks(webhooks) => webhooks.run().await,
            Command::Carrier(carrier) => carrier.run().await,
            Command::Block(block) => block.run().await,
            Command::Dispatch(dispatch) => dispatch.run().await,
            Command::Quota(quota) => quota.run().await,
            Command::Erase(erase) => erase.run().await,
            Command::Audit(audit) => audit.run().await,
            Command::Seal(seal) => seal.run(),
            Command::Publish(publish) => publish.run().await,
            Command::Dead(dead) => dead.run().await,
            Command::Migrate(migrate) => migrate.run().await,
            Command::Config(ConfigCommand::Check(check)) => check.run().await,
            Command::Config(ConfigCommand::Diff(diff)) => diff.run().await,
            Command::Config(ConfigCommand::Print) => {
                print!("{}", config::DEFAULT);
                Ok(())
            }
            Command::Doctor(doctor) => doctor.run().await,
            Command::Contracts(contracts) => contracts.run(),
            Command::Keys(keys) => keys.run().await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::AlreadyReported) => ExitCode::FAILURE,
        Err(Failure::Failed(why)) => {
            eprintln!("otpost: {why}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(why)) => {
            eprintln!("otpost: {why}");
            ExitCode::from(2)
        }
    }
}

fn has_carriers(config: &Config) -> Result<(), Failure> {
    if config.carriers.is_empty() {
        return Err(Failure::Usage("no carrier is configured: add a section [carriers.NAME]".to_owned()));
    }
    Ok(())
}

impl Migrate {
    async fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let location: crate::ledger::Location = config
            .ledger_url()
            .parse()
            .map_err(|e: crate::ledger::LedgerError| Failure::Usage(e.to_string()))?;
        if self.print {
            print!("{}", crate::ledger::schema(&location));
            if config.amqp.url.is_some() {
                println!("\n-- RabbitMQ\n{}", Broker::topology());
            }
            return Ok(());
        }
        let nodes = crate::app::broker_nodes(&config).map_err(|e| Failure::Usage(e.to_string()))?;
        let ledger = crate::ledger::open(&location, &crate::app::ledger_options(&config))?;
        ledger.migrate().await?;
        println!("The ledger's schema is up to date.");
        if let Some(nodes) = nodes {
            Broker::declare(&nodes, config.amqp.declare).await.map_err(|e| Failure::Failed(e.to_string()))?;
            println!("The broker's exchanges and queues are up to date.");
        }
        Ok(())
    }
}
