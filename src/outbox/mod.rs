//! Events out, at least once: the transactional outbox.
//!
//! Comes in: batches of events that the ledger committed with the changes that they report. Goes out: messages on the broker,
//! webhooks, and a live stream. Each is a `Sink`; `publisher` gives every sink its batches, and `delivery` tries them until
//! they are delivered. Nothing here changes a dispatch.

pub mod broker;
pub mod cloud_event;
mod delivery;
pub mod feed;
pub mod publisher;
mod sink;
pub mod webhook;
