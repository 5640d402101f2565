//! Requests to the ledger, and their results.

mod admission;
mod begin;
mod decision;
mod fact;
mod key;
mod limit;
mod lost_commit;
mod outbox;
mod webhook;

pub use admission::{Admission, AdmissionResult, OnRefusal, Refusal};
pub use begin::{BeginRequest, BeginResult, NewAttempt};
pub use decision::{AttemptOutcome, DecisionWrite, WriteResult};
pub use fact::{
    AdvanceRequest, AdvanceResult, AttemptReceipt, RecordResult, Recorded, StopRequest, StopResult, Stopped,
};
pub use key::KeyRow;
pub use limit::{FullQuota, Limit, QuotaOwner};
pub use lost_commit::LostCommit;
pub use outbox::{Destinations, EventBatch, PendingEvents, Receiver, Undelivered};
pub use webhook::WebhookRow;
