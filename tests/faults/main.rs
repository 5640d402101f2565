//! Nothing lost, nothing twice, nothing late: what surrounds otpost breaks, and after each scenario one checker looks at
//! the carrier's record, the ledger, the queues, the events and the logs.
//!
//! `scripts/faults` runs the short selection, `scripts/faults --all` everything; a seed chooses what a load is made of,
//! is printed, and can be given again. Beside a scenario stands which mechanism to switch off to see it fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod breaking;
mod broker_away;
mod carrier;
mod checker;
mod clock;
mod commit;
mod crash;
mod disk;
mod excuse;
mod frozen;
mod leaks;
mod ledger_away;
mod load;
mod memory;
mod needs;
mod neighbours;
mod outages;
mod poison;
mod receipts;
mod receiver;
mod resources;
mod reuse;
mod seed;
mod site;
mod small_disk;
mod soak;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod under_load;
mod unknown;
mod watch;
