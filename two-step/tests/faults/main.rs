//! Fault scenarios: processes are killed and their services become unreachable. After each scenario one checker compares
//! the clients' records with the databases: no code accepted twice, no sign-in without a proof, no loss, no false report.
//!
//! `scripts/faults` runs the short selection, `scripts/faults --all` every scenario. A seed makes random choices. It is
//! printed and can be set. The comment above a scenario names a change to two-step that makes it fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]
#![expect(
    clippy::allow_attributes,
    reason = "modules that are shared with otpost's scenarios are used in part"
)]

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
mod outages;
mod phones;
#[path = "../../../tests/support/ports.rs"]
mod ports;
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
