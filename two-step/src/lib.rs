//! two-step: asks for the second step after a product's password. It makes and checks codes; otpost carries them.
//!
//! # The path of a sign-in
//!
//! A back end creates a [`challenge`] over the [`api`] and sends the browser to its URL. The first browser that opens it
//! claims it ([`flow`]): a trusted [`device`] goes straight on, everybody else gets a [`code`] by the preferred [`method`].
//! The code's job lies sealed in the outbox, in the transaction that made it, until the [`relay`] has published it to otpost
//! by a [`carrier`]. What otpost says of it is written down by [`hear`], and the [`pages`] show it. The entry is read, held
//! against the live codes under the locks of [`account`] and challenge, and counted against the [`limit`]s: exactly so many
//! wrong ones pass, and one right one. The browser goes back to the product with a ticket, which buys a signed [`result`].
//!
//! The [`store`] holds all of it, in PostgreSQL or in one SQLite file; what must not be read there is sealed or hashed by
//! [`seal`].

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
pub mod recovery;
pub mod result;
pub mod seal;
pub mod signature;
pub mod totp;

// The seams to the outside.
pub mod carrier;
pub mod mail;
pub mod push;
pub mod store;

// What happens.
pub mod flow;
pub mod hear;
pub mod relay;
pub mod sweep;

// What people and programs meet.
pub mod api;
pub mod app;
mod body;
pub mod cli;
mod client;
pub mod config;
#[cfg(feature = "demo")]
mod demo;
pub mod metrics;
pub mod ops;
pub mod pages;
