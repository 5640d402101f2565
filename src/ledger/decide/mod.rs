//! The ledger's decisions, as pure functions.
//!
//! Comes in: rows, locked by a store or as a worker has seen them, and a time. Goes out: the answer to the caller, and the rows with
//! their changes. Nothing here reads a database or a clock. Each function that changes a dispatch increments its version, except for
//! late details, which change no decision.

mod admit;
mod lost_commit;
mod operators;
mod quotas;
mod write;

#[cfg(test)]
mod tests;

pub use admit::{AdmissionDecision, KnownRow, MAX_SAME_SIGN_IN, SameSignIn, admit, answer_known};
pub use operators::{is_erasable, retry};
pub use quotas::Quotas;
pub use write::{advance, begin, record, stop, write_decision};
