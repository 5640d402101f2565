//! The alert rules, their runbook, and Prometheus itself, from Debian's package.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod incidents;
mod pages;
mod programs;
mod rules;
mod scrape;
