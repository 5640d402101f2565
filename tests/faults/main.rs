//! Fault injection: nothing is lost, sent twice or late. After each scenario the checker reads the carrier's
//! record, the ledger, the queues, the events and the logs.
//!
//! `scripts/faults` runs the short selection, `scripts/faults --all` everything. A seed selects the load; it
//! is printed and can be set. The comment of a scenario says what makes it fail.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod answers;
mod broker_nodes;
mod broker_topology;
mod broker_unreachable;
mod carrier;
mod checker;
mod clock;
mod cluster;
mod commit;
mod crash;
mod disk;
mod excuse;
mod failover;
mod fault_guards;
mod frozen;
mod isolation;
mod leaks;
mod ledger_unreachable;
mod load;
mod memory;
mod migration;
mod outages;
mod poison;
mod receipts;
mod receiver;
mod resources;
mod reuse;
mod rolling;
mod seed;
mod small_disk;
mod soak;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod under_load;
mod unknown;
mod watch;
