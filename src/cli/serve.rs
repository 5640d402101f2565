//! `otpost serve`: runs the service.

use clap::Args;
use tokio::signal::unix::SignalKind;

use super::{ConfigFile, Failure, Role, has_carriers, roles};
use crate::app::{self, App, Start};
use crate::config::Config;
use crate::ops::telemetry;

/// Run the service.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Roles of this process
    #[arg(long, value_delimiter = ',', default_values = ["api", "worker", "receipts"], value_enum)]
    roles: Vec<Role>,
    /// Migrate the ledger's schema before starting
    #[arg(long)]
    migrate: bool,
    /// Fail at once when the ledger or the broker is unreachable, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let level = telemetry::start(&config.log)?;
        for note in &config.notes {
            tracing::warn!(note, "the configuration is valid, but should be changed");
        }
        let mut hangups = tokio::signal::unix::signal(SignalKind::hangup()).map_err(anyhow::Error::from)?;
        let keys = config.keys()?;
        has_carriers(&config)?;
        let start = Start { roles: roles(&self.roles), migrate: self.migrate, wait: !self.no_wait };
        let app = tokio::select! {
            app = app::start(config, keys, start) => app?,
            () = stop_signal() => return Ok(()),
        };
        tracing::info!(
            api = app.api.map(|a| a.to_string()),
            receipts = app.receipts.map(|a| a.to_string()),
            ops = %app.ops,
            "otpost serves"
        );
        let stop = stop_signal();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(()) = hangups.recv() => self.reload(&app, &level),
            }
        }
        tracing::info!("stopping; requests in progress are finished first");
        app.stop().await;
        Ok(())
    }
}

impl Serve {
    /// Reads the configuration again and applies it. After an error nothing has changed.
    fn reload(&self, app: &App, level: &telemetry::Level) {
        let read = Config::load(self.file.config.as_deref()).and_then(|config| {
            telemetry::filter(&config.log)?;
            let log = config.log.clone();
            let needs_restart = app.reload(config)?;
            level.set(&log)?;
            Ok(needs_restart)
        });
        match read {
            Ok(needs_restart) if needs_restart.is_empty() => {
                tracing::info!("configuration reloaded");
            }
            Ok(needs_restart) => tracing::warn!(
                settings = needs_restart.join(", "),
                "configuration reloaded, but some changes need a restart"
            ),
            Err(why) => tracing::error!(reason = %why, "configuration not reloaded: nothing was changed"),
        }
    }
}

/// Waits for SIGTERM or Ctrl-C.
pub(super) async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = interrupt.await;
        }
    }
}
