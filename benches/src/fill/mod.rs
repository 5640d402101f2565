//! Fills tables with old finished jobs. They are not analyzed, because the ledger's plans must not depend on it.

use anyhow::bail;
use futures_util::future::try_join_all;
use tokio_postgres::Client;

use crate::hand_written::HandWritten;
use crate::ledger;
use crate::setup::Setup;
use crate::subject::Subject;

/// From this number of rows on, indexes are built after the rows are inserted.
const MANY: usize = 100_000;
/// Rows of one transaction.
const CHUNK: usize = 250_000;
/// Connections that insert at the same time.
const CONNECTIONS: usize = 2;

/// Inserts old jobs, and their quotas, in the form of a worker's own tables.
pub(crate) async fn fill(setup: &Setup, subject: Subject, rows: usize) -> anyhow::Result<()> {
    match subject {
        _ if rows == 0 => Ok(()),
        Subject::Otpost(_) => insert(setup, include_str!("otpost.sql"), &["dispatch", "quota"], rows).await,
        Subject::HandWritten(HandWritten::Simple) => {
            insert(setup, include_str!("simple.sql"), &["worker_dispatch"], rows).await
        }
        Subject::HandWritten(HandWritten::Reference) => {
            insert(setup, include_str!("reference.sql"), &["worker_dispatch", "worker_quota"], rows).await
        }
        Subject::Node => bail!("the Node worker's tables are never filled"),
    }
}

/// Inserts quotas of otpost that no dispatch uses.
pub(crate) async fn fill_quotas(setup: &Setup, keys: usize) -> anyhow::Result<()> {
    insert(setup, include_str!("quotas.sql"), &["quota"], keys).await
}

async fn insert(setup: &Setup, sql: &str, tables: &[&str], rows: usize) -> anyhow::Result<()> {
    let mut indexes = vec![];
    if rows >= MANY {
        for table in tables {
            indexes.extend(drop_indexes(&setup.client, table).await?);
        }
    }
    let sql = sql.replace(":rows", &rows.to_string());
    let connections = (0..CONNECTIONS).map(async |connection| {
        let client = ledger::connect(&setup.place.ledger_url()).await?;
        for first in (1..=rows).step_by(CHUNK).skip(connection).step_by(CONNECTIONS) {
            let last = rows.min(first + CHUNK - 1);
            let sql = sql.replace(":first", &first.to_string()).replace(":last", &last.to_string());
            client.batch_execute(&sql).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(connections).await?;
    setup.client.batch_execute("set maintenance_work_mem = '512MB'").await?;
    for index in indexes {
        setup.client.batch_execute(&index).await?;
    }
    Ok(())
}

/// Drops the indexes of a table that no foreign key needs. Returns the statements that create them again.
async fn drop_indexes(client: &Client, table: &str) -> anyhow::Result<Vec<String>> {
    let sql = "
        select format('alter table %s drop constraint %I', conrelid::regclass, conname),
               format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
          from pg_constraint c
         where conrelid = $1::text::regclass and contype in ('p', 'u')
           and not exists (select from pg_constraint f where f.contype = 'f' and f.conindid = c.conindid)
        union all
        select format('drop index %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
          from pg_index i
         where indrelid = $1::text::regclass
           and not exists (select from pg_constraint c where c.conindid = i.indexrelid)";
    let mut create = vec![];
    for row in client.query(sql, &[&table]).await? {
        client.batch_execute(row.get(0)).await?;
        create.push(row.get(1));
    }
    Ok(create)
}
