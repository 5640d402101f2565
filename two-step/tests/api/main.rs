//! The API for back ends, over HTTP: the answers of each call, its scope, and its contract.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

#[path = "../support/mod.rs"]
mod support;

mod app_push;
mod challenges;
mod contract;
mod idempotency;
mod methods;
mod metrics;
mod own_app;
mod refusals;
mod server;
