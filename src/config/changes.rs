//! The settings that need a restart.

use secrecy::{ExposeSecret, SecretString};

use super::Config;

impl Config {
    /// The settings that differ from those at the start and need a restart, as keys of the configuration file.
    pub fn changes_that_need_restart(&self, started_with: &Self) -> Vec<&'static str> {
        let differs = Self::restart_settings(self, started_with);
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// The settings that need a restart, and whether each differs.
    pub(super) fn restart_settings(new: &Self, old: &Self) -> [(&'static str, bool); 18] {
        let secret = |s: &Option<SecretString>| s.as_ref().map(|s| s.expose_secret().to_owned());
        [
            ("ledger.url", new.ledger_url() != old.ledger_url()),
            ("ledger.ca_file", new.ledger.ca_file != old.ledger.ca_file),
            ("ledger.pool", new.ledger.pool != old.ledger.pool),
            ("ledger.retention_days", new.ledger.retention_days != old.ledger.retention_days),
            ("amqp.url", secret(&new.amqp.url) != secret(&old.amqp.url)),
            ("amqp.ca_file", new.amqp.ca_file != old.amqp.ca_file),
            ("amqp.declare", new.amqp.declare != old.amqp.declare),
            ("amqp.prefetch", new.amqp.prefetch != old.amqp.prefetch),
            ("api.listen", new.api.listen != old.api.listen),
            ("receipts.listen", new.receipts.listen != old.receipts.listen),
            ("receipts.public_url", new.receipts.public_url != old.receipts.public_url),
            ("traces.otlp_url", new.traces.otlp_url != old.traces.otlp_url),
            ("traces.sample", new.traces.sample.to_bits() != old.traces.sample.to_bits()),
            ("ops.listen", new.ops.listen != old.ops.listen),
            ("ops.token", secret(&new.ops.token) != secret(&old.ops.token)),
            ("worker.slots", new.worker.slots != old.worker.slots),
            ("worker.grace_s", new.worker.grace_s != old.worker.grace_s),
            ("log.format", new.log.format != old.log.format),
        ]
    }
}
