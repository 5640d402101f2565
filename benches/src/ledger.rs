//! The benchmark's access to `PostgreSQL`: a schema, its old rows, and a check that all work is done.

use anyhow::ensure;
use tokio_postgres::{Client, NoTls};

use crate::measure::Subject;
use crate::place::Place;
use crate::processes;

pub(crate) async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // A lost connection makes the next query fail.
    tokio::spawn(connection);
    Ok(client)
}

/// Drops and creates the schema.
pub(crate) async fn recreate_schema(client: &Client, place: &Place) -> anyhow::Result<()> {
    let schema = &place.schema;
    ensure!(
        schema.starts_with("otpost_bench"),
        "the schema is dropped, so its name must begin with otpost_bench"
    );
    client
        .batch_execute(&format!(
            "set client_min_messages = warning; set enable_seqscan = off; drop schema if exists {schema} cascade; create schema {schema}"
        ))
        .await?;
    Ok(())
}

/// Drops the schema.
pub(crate) async fn sweep(place: &Place) -> anyhow::Result<()> {
    let client = connect(&place.ledger_url()).await?;
    recreate_schema(&client, place).await?;
    client.batch_execute(&format!("drop schema {}", place.schema)).await?;
    Ok(())
}

/// Fills the tables with old finished jobs. They are not analyzed, because the ledger's plans must not depend
/// on it.
pub(crate) async fn fill(client: &Client, subject: Subject, rows: usize) -> anyhow::Result<()> {
    let sql = match subject {
        Subject::Otpost => include_str!("fill/otpost.sql"),
        Subject::Floor { floor, .. } => floor.filling(),
    };
    client.batch_execute(&sql.replace(":rows", &rows.to_string())).await?;
    Ok(())
}

/// Writes dirty pages, so that they do not cost time during the measurement.
pub(crate) async fn settle(client: &Client) -> anyhow::Result<()> {
    client.batch_execute("checkpoint").await?;
    Ok(())
}

/// Whether no row of otpost is due. It runs beside the worker, so an index answers both questions, even for a
/// table that was never analyzed (see `recreate_schema`).
pub(crate) async fn at_rest(client: &Client, since: uuid::Uuid) -> anyhow::Result<bool> {
    let sql = "select not exists (select from outbox)
                  and not exists (select from dispatch where uid >= $1 and state in ('queued', 'sending'))";
    Ok(client.query_one(sql, &[&since]).await?.get(0))
}

/// Returns the number of sent jobs without the old ones.
pub(crate) async fn sent(client: &Client, subject: Subject) -> anyhow::Result<usize> {
    let table = match subject {
        Subject::Otpost => "dispatch",
        Subject::Floor { .. } => "floor_dispatch",
    };
    let sql = format!("select count(*) from {table} where state = 'sent'");
    let count: i64 = client.query_one(&sql, &[]).await?.get(0);
    Ok(count as usize)
}

/// Returns the server's first process, if the server runs on this machine.
pub(crate) async fn postmaster(client: &Client) -> anyhow::Result<Option<u32>> {
    let backend: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let named = std::fs::read_to_string(format!("/proc/{backend}/comm")).unwrap_or_default();
    if named.trim() == "postgres" { processes::parent(backend as u32).map(Some) } else { Ok(None) }
}
