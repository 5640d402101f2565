//! Plays the carriers, so that nobody has to pay one: takes texts and calls over the HTTP APIs that the
//! carriers have, shows them on a page, and sends signed receipts back.
//!
//! # The path of a request
//!
//! 1. A request arrives on a `line` which, unlike a plain connection, can be hung up without an answer.
//! 2. The carrier's own module (`twilio`, `infobip`) checks credentials and parameters, and answers in its words.
//! 3. The `choice` says what becomes of it: an `outcome` scripted by a test, or else the one that the last
//!    digits of the number stand for (`magic`).
//! 4. What was asked is put on `record`, and in a file if one was named, before any answer goes out.
//! 5. The outcome is performed (`perform`): answered, answered late, held or hung up on; the text or call (an
//!    `item`) then takes its course, state by state.
//! 6. Each state is told to the customer by the `courier`, signed and retried as the carrier would.
//! 7. People look at the `page`; tests look at the `api`. Both are for this machine only (`host`).
//!
//! [`Gateway::start`] begins all this on a listener it is given; the `switchboard` is what the parts share.
//! A further carrier is one more module beside these and one more line in `gateway`.

mod api;
mod choice;
mod clock;
mod config;
mod courier;
mod gateway;
mod host;
mod infobip;
mod item;
mod line;
mod magic;
mod outcome;
mod page;
mod perform;
mod record;
mod segments;
mod switchboard;
mod twilio;

pub use config::{AccountCallback, Config};
pub use gateway::Gateway;
