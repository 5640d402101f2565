//! What is asked of the ledger, and what it answers.

mod admission;
mod begin;
mod conclude;
mod fact;
mod hook;
mod key;
mod telling;

pub use admission::{Admission, Admitted, Limit, Refusal};
pub use begin::{Beginning, Begun, NewAttempt};
pub use conclude::{Closing, Concluded, Deciding};
pub use fact::{Advanced, Advancing, Marked, Marking, Recorded, Recording};
pub use hook::{Hook, HookFate, HookRow};
pub use key::KeyRow;
pub use telling::{Owed, Owes, Told};
