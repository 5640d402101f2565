//! `otpost config check`: checks a configuration without its servers, or with them.

use clap::Args;

use super::{ConfigFile, Failure, has_carriers, probe};
use crate::broker::Nodes;
use crate::carriers::Callbacks;
use crate::config::Config;
use crate::ledger::{self, LedgerError, Location};
use crate::messages::{Templates, gsm7};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Also connect to the ledger, the broker and the carriers, and print what is wrong with each; sends nothing
    #[arg(long)]
    connect: bool,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        crate::ops::telemetry::filter(&config.log)?;
        crate::app::Reloadable::new(&config, config.keys()?)?;
        has_carriers(&config)?;
        let usage = |e: crate::ledger::LedgerError| Failure::Usage(e.to_string());
        let location: crate::ledger::Location = config.ledger_url().parse().map_err(usage)?;
        if let crate::ledger::Location::Postgres(_) = &location {
            // This connects to nothing yet.
            crate::ledger::open(&location, &crate::app::ledger_options(&config)).map_err(usage)?;
        }
        let nodes = crate::app::broker_nodes(&config).map_err(|e| Failure::Usage(e.to_string()))?;
        let broker = if nodes.is_some() { "RabbitMQ and HTTP" } else { "HTTP only (amqp.url is not set)" };
        let names: Vec<&str> = config.carriers.keys().map(String::as_str).collect();
        println!("The configuration is valid. Jobs: {broker}. Carriers: {}.", names.join(", "));
        for note in &config.notes {
            println!("Warning: {note}");
        }
        if probe::is_loopback(&config.receipts.public_url)
            && let Some(name) =
                config.carriers.iter().find(|(_, c)| !probe::is_loopback(c.base_url())).map(|(name, _)| name)
        {
            println!(
                "Warning: receipts.public_url is a loopback address, so {name} cannot send receipts. A text without a receipt is \
             followed by the next channel."
            );
        }
        for (name, _) in config.carriers.iter().filter(|(_, c)| c.callbacks == Callbacks::Account) {
            let url = crate::receipts::account_url(&config.receipts.public_url, &config.keys()?, name);
            println!("Enter this callback URL at the carrier of {name}, and keep it secret: {url}");
        }
        let templates = Templates::load(config.messages.templates_dir.as_deref()).map_err(Failure::Usage)?;
        let brands = config
            .tenants
            .iter()
            .filter_map(|(name, tenant)| Some((format!("tenants.{name}.brand"), tenant.brand.as_deref()?)));
        for (key, brand) in brands.chain([("messages.brand".to_owned(), config.messages.brand.as_str())]) {
            if let Some(place) = gsm7::outside(brand) {
                println!(
                    "{key} has {place}: every text with it is sent in UCS-2, with 70 instead of 160 characters in a part."
                );
            }
        }
        for (name, place) in templates.texts_outside_gsm7() {
            println!(
                "The text {name} has {place}: it is sent in UCS-2, with 70 instead of 160 characters in a part."
            );
        }
        for (name, segments) in templates.multi_part_texts(&config.messages.brand) {
            let alphabet = if segments.gsm7 { "GSM-7" } else { "UCS-2, because a character is not in GSM-7" };
            println!("The text {name} is charged as {} ({alphabet}).", segments.parts);
        }
        if self.connect { connect(&config, &location, nodes.as_ref()).await } else { Ok(()) }
    }
}

/// Connects to each server and prints the result, a line each.
async fn connect(config: &Config, location: &Location, nodes: Option<&Nodes>) -> Result<(), Failure> {
    let mut all_answer = true;
    let mut print = |what: &str, problem: Option<String>| {
        all_answer &= problem.is_none();
        println!("{what}: {}", problem.unwrap_or_else(|| "ok".to_owned()));
    };
    if let Location::Postgres(_) = location {
        print("ledger", ledger_problem(config, location).await.err().map(|e| e.to_string()));
    }
    if let Some(nodes) = nodes {
        print("broker", probe::broker(nodes).await.err());
    }
    for (name, carrier) in config.carriers.iter().filter(|(_, carrier)| !carrier.retired) {
        print(&format!("carrier {name}"), probe::carrier(name, carrier).await.err());
    }
    if all_answer { Ok(()) } else { Err(Failure::AlreadyReported) }
}

async fn ledger_problem(config: &Config, location: &Location) -> Result<(), LedgerError> {
    ledger::open(location, &crate::app::ledger_options(config))?.check().await.map(drop)
}
