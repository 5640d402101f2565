//! otpost delivers one-time codes by text message or voice call.
//!
//! # The path of a code
//!
//! 1. A job arrives over RabbitMQ ([`broker`]) or HTTP ([`http`]), and is parsed. Unknown or repeated fields are errors.
//! 2. [`intake`] checks it against the policy, encrypts its secrets ([`seal`]) and hashes the values that are searched for.
//! 3. The [`ledger`] admits it in one transaction. A repeated job changes nothing; a full quota refuses it. A job from RabbitMQ
//!    gets its first attempt at once if a carrier has room. A job over HTTP starts as `queued`.
//! 4. The job is acknowledged after that commit.
//! 5. A worker ([`delivery`]) sends the text, which [`messages`] rendered, through a carrier ([`carriers`]).
//! 6. The carrier's answer becomes an outcome. The pure functions of [`domain::decide`] choose what follows: wait, retry, fall
//!    back or end.
//! 7. The ledger stores outcome and decision in one transaction. If the row's version has changed, it stores only the outcome,
//!    and the worker decides again.
//! 8. [`receipts`] stores delivery receipts (DLR) and wakes a worker, which decides again.
//! 9. The scheduler ([`delivery::scheduler`]) takes every row whose time has come, so retries, fallbacks and crashed workers
//!    are handled alike.
//! 10. [`outbox`] publishes each `sent` and each final state at least once: on the broker, to webhooks, and to live listeners.
//!
//! Facts are written by the task that learns them. Decisions are written only by a task that has read the latest facts. This
//! rule keeps workers, receipts, timers and senders out of each other's way.
//!
//! Around the path: the commands ([`cli`]), the configuration ([`config`]), start and stop ([`app`]), metrics and health ([`ops`]).

pub mod app;
pub mod broker;
pub mod carriers;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod http;
pub mod intake;
pub mod ledger;
pub mod messages;
pub mod ops;
pub mod outbox;
pub mod receipts;
pub mod seal;
