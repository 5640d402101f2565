//! two-step: verifies the second step after a product's password. It creates and checks codes; otpost sends them.
//!
//! # The path of a sign-in
//!
//! A back end creates a [`challenge`] over the [`api`] and sends the browser to its URL. The first browser that opens it
//! claims it ([`flow`]). A trusted [`device`] is verified at once; every other browser gets a [`code`] by the preferred
//! [`method`]. The transaction that creates the code also writes a sealed job to the outbox. The [`relay`] publishes it to
//! otpost through the [`otpost_client`]. [`otpost_events`] stores otpost's events, and the [`pages`] show them. An entered code is
//! compared with the live codes under the locks of [`account`] and challenge, and counted against the [`limit`]s. The
//! limits are exact. The browser returns to the product with a ticket, which the product redeems for a signed [`result`].
//!
//! The [`store`] holds all rows, in PostgreSQL or in one SQLite file. [`seal`] seals or hashes the secrets in them.

// Pure rules.
pub mod account;
pub mod app_key;
pub mod app_request;
pub mod challenge;
pub mod clock;
pub mod code;
pub mod device;
pub mod limit;
pub mod method;
pub mod notice;
pub mod number;
pub mod public_key;
pub mod recovery;
pub mod result;
pub mod seal;
pub mod signature;
pub mod totp;

// Connections to the outside.
pub mod mail;
pub mod otpost_client;
pub mod push;
pub mod store;

// Flows and background tasks.
pub mod flow;
pub mod otpost_events;
pub mod relay;
pub mod sweep;

// Interfaces for people and programs.
pub mod api;
mod body;
pub mod cli;
mod client;
pub mod config;
#[cfg(feature = "demo")]
mod demo;
pub mod metrics;
pub mod ops;
pub mod pages;
pub mod process;
