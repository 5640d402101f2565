//! Migrates the database schema to the version of this program.

use deadpool_postgres::Object;

use super::{Driver, Store, StoreError, postgres, sqlite};

const POSTGRES: &[(&str, &str)] = &[
    ("V1__two_step", include_str!("../../migrations/postgres/V1__two_step.sql")),
    ("V2__proofs", include_str!("../../migrations/postgres/V2__proofs.sql")),
    ("V3__order_of_events", include_str!("../../migrations/postgres/V3__order_of_events.sql")),
    ("V4__app", include_str!("../../migrations/postgres/V4__app.sql")),
];
const SQLITE: &[(&str, &str)] = &[
    ("V1__two_step", include_str!("../../migrations/sqlite/V1__two_step.sql")),
    ("V2__proofs", include_str!("../../migrations/sqlite/V2__proofs.sql")),
    ("V3__order_of_events", include_str!("../../migrations/sqlite/V3__order_of_events.sql")),
    ("V4__app", include_str!("../../migrations/sqlite/V4__app.sql")),
];
/// Advisory lock that serialises migrations.
const MIGRATION_LOCK: i64 = 0x7477_6f73_7465_7031;

pub(super) async fn run(driver: &Driver) -> Result<(), StoreError> {
    match driver {
        Driver::Postgres(d) => {
            // Its own connection: the lock is released when it closes, even after a crash.
            let mut connection = Object::take(d.connection().await?);
            let of = |e: tokio_postgres::Error| postgres::error_of(&e);
            connection.batch_execute("set statement_timeout = 0").await.map_err(of)?;
            connection.execute("select pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await.map_err(of)?;
            runner(POSTGRES)?.run_async(&mut *connection).await.map_err(|e| failed(&e))?;
        }
        Driver::Sqlite(d) => {
            let mut connection = d.connection.lock().await;
            runner(SQLITE)?.run(&mut *connection).map_err(|e| failed(&e))?;
            connection.execute_batch("pragma optimize").map_err(|e| sqlite::error_of(&e))?;
        }
    }
    Ok(())
}

/// Checks that the schema has the version of this program.
pub(super) async fn check(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let rows = tx
        .query("select cast(coalesce(max(version), 0) as bigint) from refinery_schema_history", &[])
        .await?;
    let newest = POSTGRES.len() as i64;
    match rows.first().map_or(0, |r| r.int(0)) {
        found if found == newest => Ok(()),
        found if found > newest => {
            Err(StoreError::Schema("the schema is of a later version of two-step".to_owned()))
        }
        _ => Err(StoreError::Schema("the schema is missing or older: run `two-step migrate`".to_owned())),
    }
}

fn runner(list: &[(&str, &str)]) -> Result<refinery::Runner, StoreError> {
    let migrations: Result<Vec<_>, _> =
        list.iter().map(|(name, sql)| refinery::Migration::unapplied(name, sql)).collect();
    Ok(refinery::Runner::new(&migrations.map_err(|e| failed(&e))?))
}

fn failed(e: &refinery::Error) -> StoreError {
    StoreError::Schema(format!("the schema cannot be migrated ({:?})", std::mem::discriminant(e.kind())))
}
