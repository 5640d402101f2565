//! Detects a pooler that gives each transaction another server process, such as PgBouncer with `pool_mode = transaction`.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::Postgres;
use super::error::{TRANSACTION_POOLER, ledger_error};
use crate::ledger::LedgerError;

const BACKEND: &str = "select pg_backend_pid()";

impl Postgres {
    /// Fails if a connection does not keep its server process, because a pooler gives the process to another connection between two
    /// transactions.
    pub(super) async fn check_pooler(&self) -> Result<(), LedgerError> {
        let checked = tokio::time::timeout(self.checks_timeout(), self.compare_backends()).await;
        checked.unwrap_or_else(|_| Err(self.no_connection_in_time()))
    }

    async fn compare_backends(&self) -> Result<(), LedgerError> {
        let (one, other) = (self.connect_alone().await?, self.connect_alone().await?);
        let before = backend(&one, BACKEND).await?;
        let others = backend(&other, &format!("begin; {BACKEND}")).await?;
        let after = backend(&one, BACKEND).await?;
        if before == after && others != before {
            Ok(())
        } else {
            Err(LedgerError::Unusable(TRANSACTION_POOLER.to_owned()))
        }
    }
}

/// The server process of a connection, as text.
async fn backend(client: &Client, sql: &str) -> Result<String, LedgerError> {
    let answers = client.simple_query(sql).await.map_err(|e| ledger_error(&e))?;
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}
