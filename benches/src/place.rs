//! The vhost and the schema of a measurement.

use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The broker, with a vhost for this run only: its queues are deleted
    #[arg(long, env = "OTPOST_BENCH_AMQP_URL", hide_env_values = true)]
    pub(crate) amqp_url: String,
    /// The database that holds the ledger
    #[arg(long, env = "OTPOST_BENCH_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// A schema for this run only: it is dropped
    #[arg(long, env = "OTPOST_BENCH_SCHEMA", default_value = "otpost_bench")]
    pub(crate) schema: String,
    /// The processes of the broker's nodes, to measure their processor time
    #[arg(long, env = "OTPOST_BENCH_RABBITMQ_PID", value_delimiter = ',')]
    pub(crate) rabbitmq_pid: Vec<u32>,
}

impl Place {
    /// Returns the same place with a second schema, whose rows are kept while others are measured.
    pub(crate) fn with_kept_schema(&self) -> Self {
        let [_, kept] = self.schemas();
        Self { schema: kept, ..self.clone() }
    }

    /// Returns the names of the run's schemas.
    pub(crate) fn schemas(&self) -> [String; 2] {
        [self.schema.clone(), format!("{}_kept", self.schema)]
    }

    /// Returns the database's URL with our schema as the search path.
    pub(crate) fn ledger_url(&self) -> String {
        let joint = if self.database_url.contains('?') { '&' } else { '?' };
        format!("{}{joint}options=-csearch_path%3D{}", self.database_url, self.schema)
    }
}
