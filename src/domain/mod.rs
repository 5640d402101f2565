//! The rules of otpost, without input or output.
//!
//! Comes in: values, the time and the policy. Goes out: decisions, states and the words of the wire format. Nothing here reads a
//! configuration, a database or a socket, and only `clock` reads the time. Every test runs in memory.

pub mod attempt;
pub mod attempt_fact;
pub mod backoff;
pub mod channel;
pub mod clock;
pub mod decide;
pub mod delivery_cell;
pub mod delivery_count;
pub mod dispatch;
pub mod json;
pub mod quota;
pub mod restrictions;
pub mod retry_after;
pub mod server_url;
pub mod tenant;
pub(crate) mod words;
