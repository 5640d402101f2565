//! Simulates carriers for tests and development. It accepts texts and calls over the carriers' HTTP APIs,
//! shows them on a page, and sends signed receipts.
//!
//! # The path of a request
//!
//! 1. A request arrives on a connection that the gateway can close without an answer (`connection`).
//! 2. The carrier's module (`twilio`, `infobip`) checks credentials and parameters, and builds the answer.
//! 3. `choice` selects the outcome: the next scripted `outcome`, or else the outcome of the last digits of
//!    the number (`magic`).
//! 4. The request is written to the `record`, and to a file if one is configured, before the answer.
//! 5. `outcome_runner` answers the request at once, late or not at all. The message (`carrier_message`) then
//!    passes through its states.
//! 6. Each state is reported by a signed callback (`callbacks`), with the carrier's retries.
//! 7. `page` is for people, `api` is for tests. Both are only for this machine (`host`).
//!
//! [`Gateway::start`] runs all this on a listener. The modules share `shared`. A further carrier needs one
//! more module, and one more line in `gateway`.

mod api;
mod callbacks;
mod carrier_message;
mod choice;
mod clock;
mod config;
mod connection;
mod gateway;
mod host;
mod infobip;
mod magic;
mod outcome;
mod outcome_runner;
mod page;
mod record;
mod segments;
mod shared;
mod twilio;

pub use config::{AccountCallback, Config};
pub use gateway::Gateway;
