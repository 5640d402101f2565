//! Events out, at least once: the transactional outbox.
//!
//! Comes in: events that the ledger committed with the change that they report. Goes out: messages on the broker, webhooks, and
//! a live stream. Nothing here changes a dispatch.

pub mod cloud_event;
pub mod feed;
pub mod publisher;
pub mod webhook;
