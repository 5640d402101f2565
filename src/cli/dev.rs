//! `otpost dev`: all roles and a mock carrier in one process on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use mock_gateway::Gateway;
use tokio::net::TcpListener;

use super::serve::stop_signal;
use super::state_file::StateFile;
use super::{Failure, program};
use crate::app::{self, App, Roles, Start};
use crate::carriers::twilio;
use crate::config::{CarrierConfig, Config};
use crate::domain::tenant::ALL_TENANTS;
use crate::http::{NewKey, Scope};
use crate::ops::telemetry;
use crate::seal::{Keys, Root};

/// The scopes of the tenant's API key of an embedded otpost.
const SCOPES: [Scope; 4] = [Scope::Dispatch, Scope::Read, Scope::Act, Scope::Admin];

/// Run everything on this machine, with a mock carrier.
#[derive(Debug, Args)]
pub(super) struct Dev {
    /// Port of the HTTP API
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Port of the page that shows the mock phones
    #[arg(long, default_value_t = 8025)]
    gateway_port: u16,
    /// Port of the page for operators; if it is in use, another one is taken
    #[arg(long, default_value_t = 8082)]
    ops_port: u16,
    /// Folder of the ledger file and the keys; default: ~/.local/state/otpost
    #[arg(long)]
    data: Option<PathBuf>,
    /// Print the URLs and the API key as JSON
    #[arg(long)]
    json: bool,
}

/// The API keys of an embedded otpost.
pub(super) struct ApiKeys {
    /// The key of the tenant `default`.
    pub(super) tenant: NewKey,
    /// The key of the operator.
    pub(super) operator: NewKey,
}

impl ApiKeys {
    /// New keys.
    pub(super) fn new() -> Self {
        Self {
            tenant: NewKey::make("default", &SCOPES),
            operator: NewKey::make(ALL_TENANTS, &[Scope::Admin]),
        }
    }

    /// Reads or creates the API keys in a folder. Keeping them lets scripts use the same keys after the next start.
    fn load_or_create(folder: &Path) -> anyhow::Result<Self> {
        let new = Self::new();
        Ok(Self {
            tenant: load_or_keep(&folder.join("key"), new.tenant, "default", &SCOPES)?,
            operator: load_or_keep(&folder.join("operator-key"), new.operator, ALL_TENANTS, &[Scope::Admin])?,
        })
    }
}

/// An otpost with all roles and a mock carrier, in this process.
pub(super) struct Embedded {
    pub(super) app: App,
    pub(super) gateway: Gateway,
    pub(super) key: String,
    pub(super) operator_key: String,
}

impl Embedded {
    /// Starts it with an SQLite ledger in this file.
    pub(super) async fn start(
        ledger: &Path, keys: Keys, api_keys: ApiKeys, ports: (u16, u16), pace: Duration,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mock = mock_gateway::Config { pace, ..mock_gateway::Config::default() };
        let listener = TcpListener::bind(local(ports.1)).await.with_context(|| {
            format!("the page with the phones cannot listen on port {}: the port is in use; choose another with --gateway-port", ports.1)
        })?;
        drop(TcpListener::bind(local(ports.0)).await.with_context(|| {
            format!(
                "the HTTP API cannot listen on port {}: the port is in use; choose another with --port",
                ports.0
            )
        })?);
        let gateway = Gateway::start(listener, mock.clone())?;
        let mut config = Config::default();
        config.ledger.url = Some(format!("sqlite:{}", ledger.display()).into());
        config.api.listen = local(ports.0);
        config.receipts.listen = local(0);
        "http://127.0.0.1:0".clone_into(&mut config.receipts.public_url);
        config.ops.listen = local(0);
        let account = twilio::Config {
            account_sid: mock.account_sid,
            auth_token: Some(mock.auth_token.into()),
            from: Some("+15005550006".to_owned()),
            machine_detection: true,
            base_url: format!("http://{}", gateway.addr()),
            ..twilio::Config::default()
        };
        config
            .carriers
            .insert("mock".to_owned(), CarrierConfig { twilio: Some(account), ..CarrierConfig::default() });
        change(&mut config);
        let app = app::start(config, keys, Start { roles: Roles::ALL, migrate: true, wait: false }).await?;
        let ApiKeys { tenant, operator } = api_keys;
        for key in [&tenant, &operator] {
            if app.ledger.key(&key.row.id).await?.is_none() {
                app.ledger.add_key(&key.row).await?;
            }
        }
        Ok(Self { app, gateway, key: tenant.text, operator_key: operator.text })
    }

    pub(super) fn api_url(&self) -> String {
        self.app.api.map_or_else(String::new, |a| format!("http://{a}"))
    }

    pub(super) fn gateway_url(&self) -> String {
        format!("http://{}", self.gateway.addr())
    }

    pub(super) async fn stop(self) {
        self.gateway.shutdown().await;
        self.app.stop().await;
    }
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), Failure> {
        telemetry::start(&crate::config::LogConfig::default())?;
        let folder = self.data.unwrap_or_else(StateFile::folder);
        let cannot = || format!("{} cannot be written; choose another with --data", folder.display());
        std::fs::create_dir_all(&folder).with_context(cannot)?;
        let root = load_or_create_root(&folder.join("root")).with_context(cannot)?;
        let keys = Keys::new(root.clone(), vec![], &root);
        let api_keys = ApiKeys::load_or_create(&folder).with_context(cannot)?;
        let (ports, pace) = ((self.port, self.gateway_port), Duration::from_millis(600));
        let ops = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ops_port));
        let is_free = TcpListener::bind(ops).await.is_ok();
        let embedded = Embedded::start(&folder.join("dev.db"), keys, api_keys, ports, pace, |config| {
            if is_free {
                config.ops.listen = ops;
            }
        })
        .await?;
        let state = StateFile {
            api: embedded.api_url(),
            key: embedded.key.clone(),
            operator_key: embedded.operator_key.clone(),
            gateway: embedded.gateway_url(),
        };
        let written = state.write().with_context(cannot)?;
        if self.json {
            let ops = format!("http://{}", embedded.app.ops);
            println!(
                "{}",
                serde_json::json!({"api": state.api, "phones": state.gateway, "ops": ops, "key": state.key,
                                   "operator_key": state.operator_key})
            );
        } else {
            let program = program();
            println!("otpost runs on this machine and sends nothing to real phones.\n");
            println!("  Phones   {}   read the texts, hear the calls", state.gateway);
            println!("  API      {}/v1/dispatches", state.api);
            println!(
                "  Status   http://{}/   whether codes arrive; in a terminal: {program} top",
                embedded.app.ops
            );
            println!("  Key      {}\n", state.key);
            println!("Send a code:  {program} send +447700900123");
            println!("Fall back:    {program} send +447700900102 --channel sms --channel voice");
            println!("Stop with Ctrl-C.");
        }
        stop_signal().await;
        if !self.json {
            println!("Stopping");
        }
        drop(written);
        embedded.stop().await;
        Ok(())
    }
}

/// Reads or creates the root in a folder. Keeping it lets the next start open sealed values.
fn load_or_create_root(path: &Path) -> anyhow::Result<Root> {
    if let Ok(hex) = std::fs::read_to_string(path) {
        return Ok(Root::from_hex("dev", &hex)?);
    }
    let root = Root::random("dev");
    write_private(path, &root.to_hex())?;
    Ok(root)
}

/// Reads an API key from a file. Without one, writes this new key into it.
fn load_or_keep(path: &Path, new: NewKey, tenant: &str, scopes: &[Scope]) -> anyhow::Result<NewKey> {
    let stored = std::fs::read_to_string(path).ok();
    if let Some(key) = stored.and_then(|text| NewKey::of(text.trim(), tenant, scopes)) {
        return Ok(key);
    }
    let _ = std::fs::remove_file(path);
    write_private(path, &new.text)?;
    Ok(new)
}

/// Creates a file with mode 0600.
fn write_private(path: &Path, secret: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}
