//! Requests to the ledger, and their results.

mod admission;
mod audit;
mod begin;
mod decision;
mod erase;
mod fact;
mod key;
mod limit;
mod lost_commit;
mod outbox;
mod restriction;
mod search;
mod webhook;

pub use admission::{Admission, AdmissionResult, OnRefusal, Refusal};
pub use audit::{AuditRecord, NewAuditRecord, OperatorAct};
pub use begin::{BeginRequest, BeginResult, NewAttempt};
pub use decision::{AttemptOutcome, DecisionWrite, WriteResult};
pub use erase::{EraseStep, Erased, LeftDispatch};
pub use fact::{
    AdvanceRequest, AdvanceResult, AttemptReceipt, RecordResult, Recorded, RetryResult, StopRequest,
    StopResult, Stopped,
};
pub use key::KeyRow;
pub use limit::{FullQuota, Limit, QuotaOwner};
pub use lost_commit::LostCommit;
pub use outbox::{Destinations, EventBatch, PendingEvents, Receiver, Undelivered};
pub use restriction::{Block, NewBlock, NewPause, Pause, Probe, StoredRestrictions};
pub(in crate::ledger) use search::FoundRows;
pub use search::{DispatchPage, DispatchSearch, SearchBy};
pub use webhook::WebhookRow;
