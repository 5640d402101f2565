//! Logs, and the panic hook: neither ever prints a job's values.

use std::io::IsTerminal;

use tracing::Metadata;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{BadConfig, LogConfig, LogFormat};

/// Libraries that log what they carry, and how much of their talk is let through, whatever the filter says.
const CAPPED: &[(&str, LevelFilter)] = &[
    // Unroutable messages with their bodies at WARN, the broker's own texts at ERROR; our own module says what failed.
    ("lapin", LevelFilter::OFF),
    ("amq_protocol", LevelFilter::ERROR),
    // Parameters of statements at DEBUG.
    ("tokio_postgres", LevelFilter::INFO),
    ("refinery", LevelFilter::WARN),
    // URLs at DEBUG and TRACE; a callback's URL holds its token.
    ("reqwest", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
];

fn may_log(metadata: &Metadata<'_>) -> bool {
    let capped = CAPPED.iter().find(|(target, _)| metadata.target().starts_with(target));
    capped.is_none_or(|(_, most)| *metadata.level() <= *most)
}

/// Starts logging to standard error, and hides what panics carry. The second start in a process changes nothing.
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
    hide_panics();
    Ok(Level(level))
}

/// How much is logged; it can be changed while the process runs.
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Logs by another configuration's level from now on.
    pub fn set(&self, config: &LogConfig) -> Result<(), BadConfig> {
        let filter = filter(config)?;
        // It fails only where this process logs by another start's filter.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

/// The filter of a configuration.
pub fn filter(config: &LogConfig) -> Result<EnvFilter, BadConfig> {
    let bad = |_| {
        BadConfig(
            "log.level is no filter: write a level, such as info, or pairs, such as info,otpost=debug"
                .to_owned(),
        )
    };
    EnvFilter::builder().parse(&config.level).map_err(bad)
}

/// A panic's message may quote a value: only its place is printed.
pub fn hide_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(panic.place = place, "a defect: a task panicked");
    }));
}
