//! Where a measurement happens: a vhost and a schema that nobody else uses.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The broker, with a vhost that is this run's own: its queues are deleted
    #[arg(long, env = "OTPOST_BENCH_AMQP_URL", hide_env_values = true)]
    pub(crate) amqp_url: String,
    /// The database that holds the ledger
    #[arg(long, env = "OTPOST_BENCH_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// A schema that is this run's own: it is dropped
    #[arg(long, env = "OTPOST_BENCH_SCHEMA", default_value = "otpost_bench")]
    pub(crate) schema: String,
    /// The process of the broker, to count what it costs
    #[arg(long, env = "OTPOST_BENCH_RABBITMQ_PID")]
    pub(crate) rabbitmq_pid: Option<u32>,
}

impl Place {
    /// The database's URL with our schema as the search path.
    pub(crate) fn ledger_url(&self) -> String {
        let joint = if self.database_url.contains('?') { '&' } else { '?' };
        format!("{}{joint}options=-csearch_path%3D{}", self.database_url, self.schema)
    }
}
