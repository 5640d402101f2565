//! `two-step demo`: a demo shop on this machine. One process runs otpost with a mock carrier, two-step, a shop with
//! passwords and an SMTP server, and shows shop and phones side by side. No message leaves the machine.
//!
//! Only this folder uses the crates of otpost and its mock carrier. It starts them, and then calls them over HTTP.

mod browser;
mod config;
mod embedded;
mod mailbox;
mod phone_app;
mod play;
mod scenarios;
mod shop;
mod site;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use crate::api::{NewKey, Scope};
use crate::cli::{Failure, shutdown_signal, start_logs};
use crate::config::{Config, LogConfig, OtpostMode};
use crate::process::{self, App, Listeners};
use crate::seal::Keys;
use embedded::Otpost;
use mailbox::Mailbox;
use shop::Shop;

/// Run a demo shop on this machine.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Port of the demo's page
    #[arg(long, default_value_t = 8099)]
    port: u16,
    /// Run all scenarios on free ports, print a table, and exit
    #[arg(long)]
    play: bool,
    /// Print the URLs, or with --play the results, as JSON
    #[arg(long)]
    json: bool,
    /// Print the log
    #[arg(long)]
    log: bool,
    /// Keep two-step's data in this PostgreSQL instead of a temporary file: postgres://…
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Keep otpost's data in this PostgreSQL instead of a temporary file: postgres://…
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
    /// Send codes to otpost over this RabbitMQ instead of HTTP: amqp://…
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Seconds from one send to the next
    #[arg(long, value_name = "SECONDS")]
    gap: Option<u64>,
    /// Allow your own back end to use the demo: its return URL. May be repeated
    #[arg(long = "return-url", value_name = "URL")]
    return_urls: Vec<String>,
    /// Change a key of the configuration, written as in two-step.toml: 'trust.life = "1h"'. May be repeated
    #[arg(long = "set", value_name = "KEY = VALUE")]
    changes: Vec<String>,
}

/// The servers of the demo.
pub(crate) struct Running {
    otpost: Otpost,
    app: App,
    mailbox: Mailbox,
    /// The address of the demo's page.
    pub(crate) site: SocketAddr,
    /// The shop's API key, for an external back end.
    key: String,
    /// The API keys of all products, by name.
    keys: BTreeMap<String, String>,
    /// The API key of the shop's support.
    support_key: String,
    folder: Folder,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let level = if self.log { "info" } else { "off" };
        start_logs(&LogConfig { level: level.to_owned(), ..LogConfig::default() })?;
        let running = Running::start(&self).await?;
        let url = format!("http://{}/", running.site);
        let done = if self.play {
            play::play(&running, self.json).await
        } else {
            self.announce(&running, &url);
            shutdown_signal().await;
            Ok(())
        };
        running.stop().await;
        done
    }

    fn announce(&self, running: &Running, url: &str) {
        if self.json {
            let urls = json!({
                "demo": url, "shop": format!("{url}shop"), "pages": format!("http://{}", running.app.pages),
                "api": format!("http://{}", running.app.api), "gateway": running.otpost.gateway_url(), "mail": format!("{url}mail"),
                "key": running.key, "keys": running.keys, "support_key": running.support_key,
            });
            println!("{urls}");
            return;
        }
        println!("A shop with two-step verification runs on this machine. No message is really sent.\n");
        println!("  Open   {url}\n");
        println!("Sign in as ada with the password lovelace, then turn two-step verification on.");
        println!("Use any number such as 07700 900200: texts and calls appear beside the shop.");
        if !self.return_urls.is_empty() {
            println!("\nYour own back end is the product `shop`, and needs:\n");
            println!("  export TWO_STEP_API=http://{}", running.app.api);
            println!("  export TWO_STEP_URL=http://{}", running.app.pages);
            println!("  export TWO_STEP_KEY={}\n", running.key);
        }
        println!("Stop with Ctrl-C.");
    }
}

/// A temporary folder that is deleted with the demo.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("two-step-demo-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).context("no temporary folder can be made")?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Running {
    /// Starts everything.
    async fn start(demo: &Demo) -> anyhow::Result<Self> {
        // Scenarios do not wait between sends.
        let port = if demo.play { 0 } else { demo.port };
        let gap = demo.gap.or(demo.play.then_some(1));
        // Read first, so that an invalid `--set` fails before any server starts.
        config::read(
            "http://127.0.0.1:1",
            "http://127.0.0.1:1",
            std::path::Path::new("."),
            gap,
            &demo.changes,
        )
        .context("--set")?;
        let folder = Folder::make()?;
        let site = TcpListener::bind(local(port))
            .await
            .with_context(|| format!("port {port} is in use; choose another with --port"))?;
        let stage_at = site.local_addr()?;
        let stage_url = format!("http://{stage_at}");
        let mailbox = Mailbox::start().await?;
        let mut config = Config::default();
        for listen in [&mut config.pages.listen, &mut config.api.listen, &mut config.ops.listen] {
            *listen = local(0);
        }
        let listeners = Listeners::bind(&config).await?;
        let pages_url = format!("http://{}", listeners.pages.local_addr()?);
        let otpost = Otpost::start(&folder.0, &pages_url, demo).await?;
        let listens = (config.pages.listen, config.api.listen, config.ops.listen);
        config = config::read(&stage_url, &pages_url, &folder.0, gap, &demo.changes).context("--set")?;
        for product in config.products.values_mut() {
            for url in &demo.return_urls {
                product.add_return_url(url).context("--return-url")?;
            }
        }
        (config.pages.listen, config.api.listen, config.ops.listen) = listens;
        config.otpost.url = Some(otpost.api_url().into());
        if let Some(broker) = &demo.broker {
            config.otpost.mode = OtpostMode::Amqp;
            config.otpost.url = Some(broker.clone().into());
        }
        if let Some(database) = &demo.database {
            config.database.url = Some(database.clone().into());
        }
        config.otpost.key = Some(otpost.key().into());
        config.otpost.tenant_key = Some(otpost.tenant_key().into());
        config.smtp.url = Some(mailbox.url().into());
        config.check()?;
        let keys = Keys::ephemeral();
        let products: Vec<String> = config.products.keys().cloned().collect();
        let app = process::start(config, keys.clone(), listeners, true, Some(stage_url.clone())).await?;
        let mut tx = app.core.store.begin().await?;
        let mut product_keys = BTreeMap::new();
        for product in products {
            let made = NewKey::make(&keys, &product, &[Scope::Challenge, Scope::Manage, Scope::Read]);
            tx.insert(&made.row).await?;
            product_keys.insert(product, made.text);
        }
        let key = product_keys.get("shop").cloned().context("--set: the demo needs the product `shop`")?;
        let support = NewKey::make(&keys, "shop", &[Scope::Support, Scope::SupportApprove]);
        tx.insert(&support.row).await?;
        tx.commit().await?;
        let app_url = format!("{pages_url}/app?product=shop");
        let shop = Shop::new(stage_url, format!("http://{}", app.api), pages_url, key.clone());
        let router = site::router(shop, otpost.gateway_url(), mailbox.emails(), app_url);
        tokio::spawn(async move { axum::serve(site, router).await });
        let (keys, support_key) = (product_keys, support.text);
        Ok(Self { otpost, app, mailbox, site: stage_at, key, keys, support_key, folder })
    }

    pub(crate) async fn stop(self) {
        self.app.stop().await;
        self.otpost.stop().await;
        self.mailbox.stop();
        drop(self.folder);
    }
}

/// Time-out of a scenario.
pub(crate) const SCENARIO_TIMEOUT: Duration = Duration::from_secs(60);
