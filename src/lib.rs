//! otpost: one-time codes, posted, by text message or by voice call.
//!
//! # The path of a code
//!
//! A job comes in through [`broker`] or [`api`], and is read strictly into a [`dispatch::Job`]. [`admit`] holds it
//! against policy, seals its secrets and hashes what must be found again. The [`ledger`] takes it in, in a group with its
//! neighbours: a known id is answered, a full [`quota`] refuses, and where [`route`] found a carrier with room the row is
//! born with its first [`attempt`] already in it. Only then is the job acked, and the [`worker`] sends what [`message`]
//! put into words through the [`carrier`]. The answer becomes an outcome, and [`next`], a pure function, says what
//! follows; both are written in one statement, if the row is still the one that was looked at. [`receive`] records the
//! carriers' receipts and wakes a worker; [`due`] takes what is due, by name at its moment or by a scan, so a retry, a
//! fallback, a crash and an outage are all the same: a row whose time has come. What a sender does afterwards ([`act`]: feedback, the next
//! step, cancel) is a fact like any other. [`tell`] brings every change of state out to the world, at least once, as one
//! [`cloud_event`]: over the broker, to the tenant's [`webhook`], and live to whoever listens ([`feed`]). What cannot be
//! used, and what the [`ledger`] cannot take just now, is set aside on the broker, sealed in an [`envelope`]; [`outage`]
//! knows whether the ledger answers. What follows from the configuration may change meanwhile ([`live`]). A code lies
//! sealed ([`seal`]) in its row until its dispatch has ended, and nowhere else. A notice, whose template uses no code, goes the same way
//! without one.
//!
//! Facts are written by whoever learns them; conclusions only by whoever has seen the latest facts. That one rule keeps
//! workers, receipts, timers and senders out of each other's way.

// What is pure.
pub mod attempt;
pub mod backoff;
pub mod clock;
pub mod dispatch;
pub mod next;
pub mod quota;
pub mod seal;
mod words;

// The seams to the outside.
pub mod broker;
pub mod carrier;
pub mod ledger;
pub mod message;

// The path.
pub mod act;
pub mod admit;
pub mod cloud_event;
pub mod due;
pub mod envelope;
pub mod feed;
pub mod live;
pub mod outage;
pub mod receive;
pub mod route;
pub mod tell;
pub mod wake;
pub mod webhook;
pub mod worker;

// The doors.
pub mod api;
pub mod contracts;
pub mod ops;
pub mod story;

// The program.
pub mod app;
pub mod cli;
pub mod config;
pub mod crash;
pub mod metrics;
pub mod telemetry;
