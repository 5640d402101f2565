//! Logs and the panic hook. Neither prints values of a job.

use std::io::IsTerminal;

use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{BadConfig, LogConfig, LogFormat};

/// Libraries that log payloads or secrets, with the most verbose level allowed for each. The configured filter cannot raise it.
const MAX_LEVELS: &[(&str, LevelFilter)] = &[
    // Logs unroutable messages with their bodies at WARN, and RabbitMQ's texts at ERROR. `broker` logs the errors itself.
    ("lapin", LevelFilter::OFF),
    ("amq_protocol", LevelFilter::ERROR),
    // Logs statement parameters at DEBUG.
    ("tokio_postgres", LevelFilter::INFO),
    ("refinery", LevelFilter::WARN),
    // Logs URLs at DEBUG and TRACE. A callback's URL holds its token.
    ("reqwest", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
    // Logs each export at DEBUG.
    ("opentelemetry", LevelFilter::WARN),
];

fn may_log(metadata: &Metadata<'_>) -> bool {
    let capped = MAX_LEVELS.iter().find(|(target, _)| metadata.target().starts_with(target));
    capped.is_none_or(|(_, most)| *metadata.level() <= *most)
}

/// Starts logging to standard error and installs the panic hook. A second call in one process changes nothing.
pub fn start(config: &LogConfig) -> Result<Level, BadConfig> {
    let (filter, level) = reload::Layer::new(filter(config)?);
    let layer = match config.format {
        LogFormat::Text => {
            let coloured = std::io::stderr().is_terminal();
            fmt::layer().with_writer(std::io::stderr).with_ansi(coloured).with_target(false).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(layer.with_filter(filter_fn(may_log)));
    let _ = registry.try_init();
    install_panic_hook();
    Ok(Level(level))
}

/// Handle that changes the log level of the running process.
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Applies the log level of another configuration.
    pub fn set(&self, config: &LogConfig) -> Result<(), BadConfig> {
        let filter = filter(config)?;
        // Fails only when another call of `start` has set up logging. That filter then stays.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

/// Parses the log filter of a configuration.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, BadConfig> {
    let bad = |_| {
        BadConfig(
            "log.level is not a valid filter: use a level, such as info, or pairs, such as info,otpost=debug"
                .to_owned(),
        )
    };
    EnvFilter::builder().parse(&config.level).map_err(bad)
}

/// Installs a panic hook that logs the place only, because a panic message may quote a value.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(panic.place = place, "a defect: a task panicked");
    }));
}
