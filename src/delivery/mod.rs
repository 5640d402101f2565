//! From an admitted dispatch to the carrier's answer.
//!
//! Comes in: jobs, dispatches that are due, and acts of senders. Goes out: requests to carriers, and decisions for the ledger.
//! Nothing here makes a decision from a fact: [`crate::domain::decide`] does.

pub mod act;
pub mod routing;
pub mod rules;
pub mod scheduler;
pub mod wake;
pub mod worker;
