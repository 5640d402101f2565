//! No code accepted twice, nobody in without a proof, nothing lost and nothing untrue: processes are killed and what they need
//! goes away, and after each scenario one checker compares what the clients saw with the databases.
//!
//! `scripts/faults` runs the short selection, `scripts/faults --all` everything. A seed chooses what is left to chance, is
//! printed, and can be given again. Above a scenario stands by which change to two-step it was seen to fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::allow_attributes, reason = "what is shared with otpost's own scenarios is used in part")]

mod away;
mod backend;
mod browser;
mod canaries;
mod checker;
mod clock;
mod database;
mod events;
mod journal;
mod killed;
mod mailbox;
mod neighbours;
mod phones;
mod process;
#[allow(dead_code, reason = "these scenarios use a part")]
#[path = "../../../tests/support/rabbit.rs"]
mod rabbit;
mod receiver;
#[allow(dead_code, reason = "these scenarios use a part")]
#[path = "../../../tests/support/relay.rs"]
mod relay;
mod secrets;
#[allow(dead_code, reason = "these scenarios use a part")]
#[path = "../../../tests/faults/seed.rs"]
mod seed;
mod site;
mod soak;
mod tabs;
mod tap;
mod user;

use rabbit::wait;
