//! `two-step serve` as a process, on SQLite, without other servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod browser;
mod pages;
mod reload;
mod service;
