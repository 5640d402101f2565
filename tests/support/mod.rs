//! Support code of several test binaries.
#![expect(clippy::allow_attributes, reason = "an expectation fails in the binary that uses everything")]
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part"
)]

pub mod deployment;
pub mod ledger_driver;
pub mod node;
pub mod ports;
pub mod relay;
pub mod seen;
pub mod wait;
pub mod world;

#[allow(unused_macros, reason = "each test binary uses its own part")]
/// Defines a test that runs on PostgreSQL and on `SQLite`, each with a fresh ledger and a clock that the test
/// can set.
macro_rules! on_both {
    ($($(#[$meta:meta])* async fn $name:ident($driver:ident) $body:block)+) => {$(
        mod $name {
            use super::*;
            async fn test_body($driver: LedgerDriver) $body
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() { test_body(LedgerDriver::new(World::with_test_clock(Backend::Postgres).await)).await }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() { test_body(LedgerDriver::new(World::with_test_clock(Backend::Sqlite).await)).await }
        }
    )+};
}
#[allow(unused_imports, reason = "each test binary uses its own part")]
pub(crate) use on_both;
