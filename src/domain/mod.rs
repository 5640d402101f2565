//! The rules of otpost, without any input or output.
//!
//! Comes in: values, the time, and the policy. Goes out: decisions, states and texts of the wire. Nothing here reads a clock,
//! a configuration, a database or a socket, so every test of it runs in memory.

pub mod attempt;
pub mod backoff;
pub mod channel;
pub mod clock;
pub mod decide;
pub mod dispatch;
pub mod quota;
pub(crate) mod words;
