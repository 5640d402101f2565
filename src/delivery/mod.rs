//! From a job, or a row that is due, to the carrier's answer.
//!
//! Comes in: jobs, dispatches that are due, and acts of senders. Goes out: requests to carriers, and writes to the ledger.
//! [`crate::domain::decide`] makes the decisions; this module writes them. Nothing here renders a text or judges an answer
//! itself: this module calls [`crate::intake`], which renders, and [`crate::carriers`], which judges.

pub mod act;
pub mod routing;
pub mod rules;
pub mod scheduler;
pub mod wake;
pub mod worker;
