//! Tests of the store and the flows, on both databases. Each test has its own store, and sets its clock.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

#[path = "../support/mod.rs"]
mod support;

mod app_requests;
mod attackers;
mod calling;
mod clock_steps;
mod devices;
mod dispatch_events;
mod enrolling;
mod entries;
mod erasing;
mod event_order;
mod migrations;
mod new_devices;
mod on_off;
mod own_app;
mod pauses;
mod proofs;
mod results;
mod sending;
mod sessions;
mod store;
#[path = "support.rs"]
mod support_cases;
