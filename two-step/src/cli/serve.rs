//! `two-step serve`

use std::io::IsTerminal;

use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{ConfigFile, Failure};
use crate::config::{LogConfig, LogFormat};
use crate::process::{self, Listeners};

/// Log targets of libraries that would log secrets: numbers, codes, statements.
const SILENCED_TARGETS: [&str; 6] =
    ["lapin=error", "reqwest=warn", "hyper=warn", "tokio_postgres=warn", "lettre=warn", "refinery=warn"];

/// Run the service.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Migrate the schema first
    #[arg(long)]
    migrate: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        start_logs(&config.log)?;
        let keys = config.keys()?;
        let listeners = Listeners::bind(&config).await?;
        let url = config.public_url.as_str().to_owned();
        let app = process::start(config, keys, listeners, self.migrate, None).await?;
        tracing::info!(pages = %app.pages, api = %app.api, ops = %app.ops, public_url = url, "two-step started");
        tokio::select! {
            () = shutdown_signal() => {}
            () = self.reload_on_sighup(&app) => {}
        }
        tracing::info!("stopping");
        app.stop().await;
        Ok(())
    }
}

impl Serve {
    /// Reloads the configuration on SIGHUP. An invalid one changes nothing.
    async fn reload_on_sighup(&self, app: &process::App) {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
        while hangup.recv().await.is_some() {
            match self.file.load() {
                Err(e) => {
                    tracing::error!(
                        reason = e.text(),
                        "reload failed; the previous configuration stays in use"
                    );
                }
                Ok(mut config) => {
                    for key in config.keep_from(&app.core.config()) {
                        tracing::warn!(key, "this key needs a restart; the old value stays in use");
                    }
                    // The old values of these keys may not fit the rest of the new file.
                    if let Err(e) = config.check() {
                        let reason = &e.0;
                        tracing::error!(reason, "reload failed; the file is valid only after a restart");
                        continue;
                    }
                    for warning in config.warnings() {
                        tracing::warn!("{warning}");
                    }
                    app.core.replace_config(config);
                    tracing::info!("the configuration was reloaded");
                }
            }
        }
    }
}

/// Writes logs to standard error.
pub(crate) fn start_logs(config: &LogConfig) -> Result<(), Failure> {
    let bad =
        |_| Failure::Usage("log.level is not a valid filter; use info, or two_step=debug,info".to_owned());
    let mut filter = EnvFilter::builder().parse(&config.level).map_err(bad)?;
    for directive in SILENCED_TARGETS {
        // These directives come last, so they override the configuration for the same target.
        filter = filter.add_directive(
            directive.parse().map_err(|_| Failure::Failed("an internal log filter is invalid".to_owned()))?,
        );
    }
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match config.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    started.map_err(|_| Failure::Failed("a log subscriber is already installed".to_owned()))
}

/// Resolves on Ctrl-C or SIGTERM.
pub(crate) async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}
