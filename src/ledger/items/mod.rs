//! Requests to the ledger, and their results.

mod admission;
mod begin;
mod conclude;
mod fact;
mod key;
mod outbox;
mod webhook;

pub use admission::{Admission, Admitted, Limit, Refusal};
pub use begin::{Beginning, Begun, NewAttempt};
pub use conclude::{AttemptOutcome, Concluded, DecisionWrite};
pub use fact::{Advanced, Advancing, Marked, Marking, Recorded, Recording};
pub use key::KeyRow;
pub use outbox::{Destinations, PendingEvents, PublishedEvents};
pub use webhook::{DeliveryResult, WebhookDelivery, WebhookRow};
