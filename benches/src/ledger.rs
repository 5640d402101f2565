//! The benchmark's access to `PostgreSQL`: a schema, its old rows, and a check that all work is done.

use anyhow::ensure;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

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

/// Drops the run's schemas.
pub(crate) async fn sweep(place: &Place) -> anyhow::Result<()> {
    let client = connect(&place.database_url).await?;
    for schema in place.schemas() {
        client
            .batch_execute(&format!(
                "set client_min_messages = warning; drop schema if exists {schema} cascade"
            ))
            .await?;
    }
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

/// Returns the number that a query counts.
pub(crate) async fn count(
    client: &Client, sql: &str, params: &[&(dyn ToSql + Sync)],
) -> anyhow::Result<usize> {
    let count: i64 = client.query_one(sql, params).await?.get(0);
    Ok(count as usize)
}

/// Returns the position of the write-ahead log in bytes.
pub(crate) async fn wal_position(client: &Client) -> anyhow::Result<u64> {
    let sql = "select (pg_current_wal_lsn() - '0/0'::pg_lsn)::int8";
    Ok(count(client, sql, &[]).await? as u64)
}

/// Returns the server's first process, if the server runs on this machine.
pub(crate) async fn postmaster(client: &Client) -> anyhow::Result<Option<u32>> {
    let backend: i32 = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
    let named = std::fs::read_to_string(format!("/proc/{backend}/comm")).unwrap_or_default();
    if named.trim() == "postgres" { processes::parent(backend as u32).map(Some) } else { Ok(None) }
}
