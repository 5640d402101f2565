//! Shared by the test binaries: a store for each test on either database, and a shop with users.
#![expect(clippy::allow_attributes, reason = "an expectation fails in the binary that uses everything")]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part"
)]

pub mod app;
pub mod user;
pub mod world;

#[allow(unused_macros, reason = "each test binary uses its own part")]
/// Defines a test that runs on PostgreSQL and on `SQLite`, each with its own store.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident) $body:block)+) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;
            async fn scenario($world: World) $body
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() { scenario(World::new(Backend::Postgres).await).await }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() { scenario(World::new(Backend::Sqlite).await).await }
        }
    )+};
}
#[allow(unused_imports, reason = "each test binary uses its own part")]
pub(crate) use on_both;
