//! Tests the gateway over HTTP on loopback, in both directions.

#[cfg(test)]
mod setup;

mod api;
mod callbacks;
mod calls;
mod infobip;
mod messages;
mod outcomes;
mod record;
mod safety;
