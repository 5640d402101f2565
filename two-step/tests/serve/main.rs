//! `two-step serve` as a process, on SQLite, without anything around it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod browser;
mod pages;
mod reload;
mod service;
