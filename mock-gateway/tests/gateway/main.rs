//! The gateway from the outside: real HTTP over loopback, in both directions.

#[cfg(test)]
mod lab;

mod api;
mod callbacks;
mod calls;
mod infobip;
mod messages;
mod outcomes;
mod record;
mod safety;
