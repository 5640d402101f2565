//! Migrations of the schema.

use two_step::account::Account;
use two_step::clock::machine_now;
use two_step::store::{StoreError, Value, new_id};

use crate::support::on_both;
use crate::support::world::{Backend, World};

on_both! {
async fn a_second_migration_changes_nothing(world) {
    world.core.store.check_schema().await.unwrap();
    let row = Account::new(new_id(), "shop", "u1", machine_now());
    let mut tx = world.core.store.begin().await.unwrap();
    tx.insert(&row).await.unwrap();
    tx.commit().await.unwrap();
    world.core.store.migrate().await.unwrap();
    world.core.store.check_schema().await.unwrap();
    assert_eq!(world.rows::<Account>("where id = $1", &[Value::Uuid(row.id)]).await, [row]);
}
}

async fn a_missing_older_or_later_schema_is_refused(backend: Backend) {
    let world = World::unmigrated(backend).await;
    let missing = world.core.store.check_schema().await.unwrap_err();
    assert!(matches!(&missing, StoreError::Schema(text) if text.contains("two-step migrate")), "{missing:?}");
    world.core.store.migrate().await.unwrap();
    let mut tx = world.core.store.begin().await.unwrap();
    tx.execute("delete from refinery_schema_history where version = (select max(version) from refinery_schema_history)", &[]).await.unwrap();
    tx.commit().await.unwrap();
    let older = world.core.store.check_schema().await.unwrap_err();
    assert!(matches!(&older, StoreError::Schema(text) if text.contains("two-step migrate")), "{older:?}");
    let mut tx = world.core.store.begin().await.unwrap();
    tx.execute("update refinery_schema_history set version = 99 where version = 1", &[]).await.unwrap();
    tx.commit().await.unwrap();
    let later = world.core.store.check_schema().await.unwrap_err();
    assert!(matches!(&later, StoreError::Schema(text) if text.contains("later version")), "{later:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_older_or_later_schema_is_refused_by_postgres() {
    a_missing_older_or_later_schema_is_refused(Backend::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_older_or_later_schema_is_refused_by_sqlite() {
    a_missing_older_or_later_schema_is_refused(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_migrate_at_once_both_succeed() {
    for backend in [Backend::Postgres, Backend::Sqlite] {
        let world = World::unmigrated(backend).await;
        let other = world.second_process();
        let (one, two) = tokio::join!(world.core.store.migrate(), other.core.store.migrate());
        one.unwrap();
        two.unwrap();
        world.core.store.check_schema().await.unwrap();
    }
}
