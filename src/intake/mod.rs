//! Parses jobs and acts, and prepares admissions. The ledger admits.
//!
//! Comes in: the bytes of a producer, from the broker or over HTTP. They are parsed strictly. Goes out: an admission for the
//! ledger, or a sealed dead letter. Nothing here sends a message. This folder refuses a job by policy (expiry, number,
//! country); it decides nothing after admission.

mod act;
pub mod admission;
pub mod envelope;
mod job;

pub use act::{
    Act, ActKind, CancelBody, CancelShape, FeedbackBody, FeedbackShape, NextBody, NextShape, Verb,
};
pub use job::shape::JobShape;
pub use job::{BadMessage, Job, Supersedes};
