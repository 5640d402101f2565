//! The API for back ends, over HTTP: what each call answers, which scope it needs, and what its contract says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

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
