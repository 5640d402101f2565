//! Acts and views of operators: in the ledger on both databases, over the API with real servers, and by the commands.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod acts;
mod commands;
mod erase;
mod ledger;
mod office;
#[path = "../support/mod.rs"]
mod support;
mod two_workers;
